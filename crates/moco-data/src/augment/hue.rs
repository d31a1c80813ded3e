//! Rotation of the hue through Pillow's 8-bit HSV.

use crate::image::Image;
use std::sync::LazyLock;

/// Turns the hue by `turns` of the colour circle, in -0.5..=0.5.
///
/// As torchvision on Pillow images: to HSV of 8 bits each, the hue shifted by `255 turns` rounded
/// towards zero and wrapped at 256, and back.
pub fn adjust_hue(image: &mut Image, turns: f64) {
    let shift = (turns * 255.0) as i32 as u8;
    let tables = &*TABLES;
    let sectors: [Sector; 256] =
        std::array::from_fn(|hue| Sector::of((hue as u8).wrapping_add(shift)));
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        let [hue, saturation, value] = tables.hsv(*pixel);
        *pixel = sectors[usize::from(hue)].rgb(saturation, value);
    }
}

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::new);

/// [`rgb_to_hsv`] in tables. Hue and saturation depend on differences of the channels alone: which
/// of them is largest and smallest, by how much, and how far the third is below the largest.
struct Tables {
    /// By order of the channels, range, and the third's distance from the largest.
    hue: Vec<[[u8; 256]; 256]>,
    /// By range and largest.
    saturation: Vec<[u8; 256]>,
}

/// For each of [`order`]'s numbers, the channels from largest to smallest. Two never occur.
const ORDERS: [[usize; 3]; 8] =
    [[2, 1, 0], [2, 0, 1], [1, 2, 0], [0, 1, 2], [0, 1, 2], [0, 2, 1], [1, 0, 2], [0, 1, 2]];

fn order([r, g, b]: [u8; 3]) -> usize {
    usize::from(r >= g) | usize::from(g >= b) << 1 | usize::from(r >= b) << 2
}

impl Tables {
    fn new() -> Tables {
        let hue = |channels: [usize; 3], range: u8, third: u8| {
            let mut pixel = [0; 3];
            for (channel, below) in channels.into_iter().zip([0, third.min(range), range]) {
                pixel[channel] = 255 - below;
            }
            rgb_to_hsv(pixel)[0]
        };
        let table = |f: &dyn Fn(u8) -> u8| std::array::from_fn(|i| f(i as u8));
        let hue_of = |channels| {
            std::array::from_fn(|range| table(&|third| hue(channels, range as u8, third)))
        };
        let saturation_of =
            |range: u8| table(&|max| rgb_to_hsv([max, max, max.saturating_sub(range)])[1]);
        Tables {
            hue: ORDERS.into_iter().map(hue_of).collect(),
            saturation: (0..=255).map(saturation_of).collect(),
        }
    }

    fn hsv(&self, pixel: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = pixel;
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        let (range, third) = (max - min, max - (r ^ g ^ b ^ max ^ min));
        let hue = self.hue[order(pixel)][usize::from(range)][usize::from(third)];
        [hue, self.saturation[usize::from(range)][usize::from(max)], max]
    }
}

/// Pillow's `convert("HSV")`.
fn rgb_to_hsv(pixel: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = pixel.map(f32::from);
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    if max == min {
        return [0, 0, max as u8];
    }
    let range = max - min;
    let [rc, gc, bc] = [r, g, b].map(|channel| (max - channel) / range);
    let sixths = if r == max {
        bc - gc
    } else if g == max {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = (f64::from(sixths) / 6.0 + 1.0).fract() as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(range / max) * 255.0) as u8, max as u8]
}

/// What Pillow's `convert("RGB")` of an HSV image makes of one hue.
#[derive(Clone, Copy)]
struct Sector {
    /// Which of value, p, q, t the channels R, G, B are.
    channels: [u8; 3],
    /// How far the hue is into its sixth of the circle, in 0..1.
    fraction: f64,
}

impl Sector {
    fn of(hue: u8) -> Sector {
        const CHANNELS: [[u8; 3]; 6] =
            [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]];
        let sixths = f64::from(hue) * 6.0 / 255.0;
        Sector { channels: CHANNELS[sixths as usize % 6], fraction: sixths.fract() }
    }

    fn rgb(self, saturation: u8, value: u8) -> [u8; 3] {
        let (s, v) = (f64::from(saturation) / 255.0, f64::from(value));
        let level = |x: f64| (x + 0.5) as u8;
        let p = level(v * (1.0 - s));
        let q = level(v * (1.0 - s * self.fraction));
        let t = level(v * (1.0 - s * (1.0 - self.fraction)));
        // The mask spares a check of the bounds.
        self.channels.map(|channel| [value, p, q, t][usize::from(channel) & 3])
    }
}
