//! Horizontal flip.

use crate::image::Image;

/// Swaps left and right.
pub fn flip(image: &mut Image) {
    let width = image.width;
    let (pixels, _) = image.pixels.as_chunks_mut::<3>();
    for row in pixels.chunks_exact_mut(width) {
        row.reverse();
    }
}
