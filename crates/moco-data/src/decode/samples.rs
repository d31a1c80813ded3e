//! Samples of more than 8 bits, and how they become 8 bits.

use super::range::ValueRange;
use crate::image::Image;

/// An image of more than 8 bits a sample: interleaved channels, rows from top to bottom.
pub(crate) struct Samples {
    pub width: usize,
    pub height: usize,
    /// 1 for grey or 3 for RGB, and one more for alpha, which is dropped.
    pub channels: usize,
    pub values: Values,
    /// The value that is white unless a range is given; 0 is black.
    pub white: f32,
}

/// What the samples are.
pub(crate) enum Values {
    /// None is above white.
    U16(Vec<u16>),
    /// All other types. 32-bit integers are rounded to 24 bits.
    F32(Vec<f32>),
}

/// The values of an image of more than 8 bits a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Depth {
    pub lowest: f32,
    pub highest: f32,
    /// The value that is white.
    pub white: f32,
}

impl Samples {
    /// How many channels are colours.
    fn colors(&self) -> usize {
        if self.channels < 3 { 1 } else { 3 }
    }

    /// Calls `f` with each value that is a colour.
    fn each(&self, f: &mut dyn FnMut(f32)) {
        let colors = self.colors();
        match &self.values {
            Values::U16(all) => {
                let pixels = all.chunks_exact(self.channels);
                pixels.for_each(|p| p[..colors].iter().for_each(|&value| f(value.into())));
            }
            Values::F32(all) => {
                let pixels = all.chunks_exact(self.channels);
                pixels.for_each(|p| p[..colors].iter().for_each(|&value| f(value)));
            }
        }
    }

    /// The values that there are.
    pub(crate) fn depth(&self) -> Depth {
        let (mut lowest, mut highest) = (f32::INFINITY, f32::NEG_INFINITY);
        self.each(&mut |value| {
            lowest = lowest.min(value);
            highest = highest.max(value);
        });
        Depth { lowest, highest, white: self.white }
    }

    /// The image in 8 bits: the range spread evenly over the levels; without one, the high byte of
    /// 16 bits, or zero to white spread evenly.
    pub(crate) fn to_image(&self, range: Option<ValueRange>) -> Image {
        let whole = [0.0, f64::from(self.white)];
        let bounds = range.map_or(whole, |range| range.bounds(&mut || self.colors_alone()));
        let level = |value: f64| level(value, bounds);
        let pixels = match &self.values {
            Values::U16(all) if range.is_none() && self.white == 65535.0 => {
                self.map(all, |value| (value >> 8) as u8)
            }
            // A table spares a division for each sample; none is above white.
            Values::U16(all) => {
                let table: Vec<u8> =
                    (0..=self.white as u16).map(|value| level(value.into())).collect();
                self.map(all, |value| table[usize::from(value)])
            }
            Values::F32(all) => self.map(all, |value| level(value.into())),
        };
        Image { width: self.width, height: self.height, pixels }
    }

    fn colors_alone(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.width * self.height * self.colors());
        self.each(&mut |value| values.push(value));
        values
    }

    /// Each colour mapped, grey replicated.
    fn map<T: Copy>(&self, values: &[T], level: impl Fn(T) -> u8) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(self.width * self.height * 3);
        for pixel in values.chunks_exact(self.channels) {
            match self.colors() {
                1 => pixels.extend_from_slice(&[level(pixel[0]); 3]),
                _ => pixels.extend(pixel[..3].iter().map(|&value| level(value))),
            }
        }
        pixels
    }
}

/// The level of a value between black and white; what is not a number is black.
fn level(value: f64, [black, white]: [f64; 2]) -> u8 {
    if white <= black {
        return 0;
    }
    // Halves to even, as Python rounds; the cast cuts off what is beyond.
    ((value - black) / (white - black) * 255.0).round_ties_even() as u8
}

impl Depth {
    /// The operation for a view that spreads the values over the levels, if most levels would be
    /// left unused without one: that of the next number of bits that holds them all, or their own
    /// range if some are negative or not whole numbers.
    fn range_to_advise(&self) -> Option<ValueRange> {
        let (low, high) = (f64::from(self.lowest), f64::from(self.highest));
        let white = f64::from(self.white);
        // The white of numbers with a point is 1.
        let fits = low >= 0.0 && high <= white && high >= white / 4.0;
        // Without a single number, the lowest is above the highest.
        if fits || low >= high {
            return None;
        }
        let bounds = match low >= 0.0 && white > 1.0 {
            true => [0.0, 2f64.powi((high + 1.0).log2().ceil() as i32) - 1.0],
            false => [low, high],
        };
        Some(ValueRange::Values(bounds))
    }

    /// A sentence on values that take up little of the range of their type, and the mend.
    pub(crate) fn advice(&self) -> Option<String> {
        let range = self.range_to_advise()?;
        let Depth { lowest, highest, white } = *self;
        let levels = self.levels();
        let found = match lowest < 0.0 || white <= 1.0 {
            true => {
                format!("values from {lowest} to {highest}, where 0 is black and {white} white")
            }
            false => format!("values up to {highest} of {white}"),
        };
        Some(format!(
            "{found}: 8 bits keep {levels} levels of them; begin each view with `{range}`"
        ))
    }

    /// How many levels are left of the values without a range.
    fn levels(&self) -> u32 {
        let level = |value: f32| level(value.into(), [0.0, f64::from(self.white)]);
        u32::from(level(self.highest)) - u32::from(level(self.lowest)) + 1
    }
}
