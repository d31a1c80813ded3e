//! Horizontal flip.

use super::color::change;
use crate::image::Image;

/// Swaps left and right.
pub fn flip(image: &mut Image) {
    for row in image.pixels.chunks_exact_mut(image.width.max(1) * 3) {
        // Reversed byte by byte, which also reverses the channels of each pixel.
        row.reverse();
    }
    change(
        image,
        #[inline(always)]
        |block| block.swap(0, 2),
    );
}
