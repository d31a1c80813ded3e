//! Solarisation.

use super::lanes::vectorized;
use crate::image::Image;

/// Inverts every sample that is at least `threshold`, as Pillow's `ImageOps.solarize`.
pub fn solarize(image: &mut Image, threshold: u8) {
    vectorized(
        #[inline(always)]
        || {
            for sample in &mut image.pixels {
                *sample = if *sample < threshold { *sample } else { 255 - *sample };
            }
        },
    );
}

/// Adds `amount` to every sample below 128, up to 255, as the `SolarizeAdd` of RandAugment.
pub fn solarize_add(image: &mut Image, amount: u8) {
    vectorized(
        #[inline(always)]
        || {
            for sample in &mut image.pixels {
                *sample = if *sample < 128 { sample.saturating_add(amount) } else { *sample };
            }
        },
    );
}
