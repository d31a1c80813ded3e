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
