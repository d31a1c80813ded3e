//! Changes of the levels of each channel by what levels there are, or level by level.
//!
//! They need whole levels, of which there are 256 here as in Pillow: a view works on 8-bit images
//! until it is normalised.

use super::lanes::vectorized;
use crate::image::Image;

/// A level for each level.
type Table = [u8; 256];

/// Stretches each channel linearly, so that its lowest level becomes 0 and its highest 255, as
/// Pillow's `ImageOps.autocontrast`. A channel of one level stays.
pub fn autocontrast(image: &mut Image) {
    change_channels(image, |counts| {
        let (low, high) = present(counts)?;
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        // Conversions of floats round towards zero and saturate.
        Some(std::array::from_fn(|level| (level as f64 * scale + offset) as u8))
    });
}

/// Makes the levels of each channel about equally frequent, as Pillow's `ImageOps.equalize`. A
/// channel of one level stays, and so does one of less than 255 samples below its highest level.
pub fn equalize(image: &mut Image) {
    change_channels(image, |counts| {
        let (_, high) = present(counts)?;
        let step = counts[..high].iter().sum::<usize>() / 255;
        let mut below = step / 2;
        (step > 0).then(|| {
            counts.map(|count| {
                let level = (below / step).min(255) as u8;
                below += count;
                level
            })
        })
    });
}

/// Keeps the `bits` highest bits of each sample, as Pillow's `ImageOps.posterize`; none give black,
/// 8 the image itself.
pub fn posterize(image: &mut Image, bits: u32) {
    let mask = !0xff_u8.unbounded_shr(bits);
    vectorized(
        #[inline(always)]
        || {
            for sample in &mut image.pixels {
                *sample &= mask;
            }
        },
    );
}

/// The lowest and the highest level, unless there are less than two.
fn present(counts: &[usize; 256]) -> Option<(usize, usize)> {
    let is_present = |&count: &usize| count > 0;
    let (low, high) = (counts.iter().position(is_present)?, counts.iter().rposition(is_present)?);
    (low < high).then_some((low, high))
}

/// Replaces the levels of each channel by the table that `table` makes of their counts, if it makes
/// one.
fn change_channels(image: &mut Image, table: impl Fn(&[usize; 256]) -> Option<Table>) {
    let mut counts = [[0; 256]; 3];
    for pixel in image.pixels.as_chunks::<3>().0 {
        for (counts, &sample) in counts.iter_mut().zip(pixel) {
            counts[usize::from(sample)] += 1;
        }
    }
    let same = std::array::from_fn(|level| level as u8);
    let tables = counts.map(|counts| table(&counts).unwrap_or(same));
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        for (table, sample) in tables.iter().zip(pixel) {
            *sample = table[usize::from(*sample)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the red, the levels 10 and 20; of the green, one; of the blue, too few to equalise.
    fn image(pixels: usize) -> Image {
        let red = |i| if i % 2 == 0 { 10 } else { 20 };
        let blue = |i| if i == 0 { 10 } else { 20 };
        Image::new(pixels, 1, (0..pixels).flat_map(|i| [red(i), 77, blue(i)]).collect())
    }

    #[test]
    fn two_levels_become_black_and_white_and_one_stays() {
        let mut stretched = image(600);
        autocontrast(&mut stretched);
        assert_eq!(stretched.pixels[..6], [0, 77, 0, 255, 77, 255]);
        let mut equal = image(600);
        equalize(&mut equal);
        assert_eq!(equal.pixels[..6], [0, 77, 10, 255, 77, 20]);
    }

    #[test]
    fn few_pixels_are_not_equalised() {
        let mut few = image(508);
        equalize(&mut few);
        assert_eq!(few, image(508));
    }

    #[test]
    fn bits_are_kept_from_the_highest() {
        let kept = |bits| {
            let mut image = Image::new(1, 1, vec![255, 0b1010_1010, 1]);
            posterize(&mut image, bits);
            image.pixels
        };
        assert_eq!(kept(0), [0, 0, 0]);
        assert_eq!(kept(1), [128, 128, 0]);
        assert_eq!(kept(4), [0xf0, 0xa0, 0]);
        assert_eq!(kept(8), [255, 0b1010_1010, 1]);
    }
}
