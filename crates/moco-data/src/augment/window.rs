//! Windows of the image without resampling: a random one, the grid of overlapping patches, and the
//! image moved by some pixels.

use super::crop::CropBox;
use crate::image::Image;
use crate::random::Random;

/// Copies the pixels of a window.
///
/// # Panics
/// If it leaves the image.
pub fn cut(image: &Image, window: CropBox, out: &mut Image) {
    out.reshape(window.width, window.height);
    for (y, row) in out.pixels.chunks_exact_mut(window.width * 3).enumerate() {
        let start = ((window.top + y) * image.width + window.left) * 3;
        row.copy_from_slice(&image.pixels[start..start + row.len()]);
    }
}

/// Draws a window of `[height, width]` at a uniform place, as torchvision's `RandomCrop`. An image
/// that is smaller is taken whole along that axis.
pub fn draw_window(random: &mut Random, image: &Image, [height, width]: [usize; 2]) -> CropBox {
    let (height, width) = (height.min(image.height), width.min(image.width));
    let top = random.below(image.height - height + 1);
    let left = random.below(image.width - width + 1);
    CropBox { top, left, height, width }
}

/// Moves the image `down` and `right` by so many pixels, or up and left if negative; what comes in
/// at the edge mirrors the image there, without repeating the edge pixels (numpy's `reflect`).
pub fn translate(image: &Image, down: isize, right: isize, out: &mut Image) {
    out.reshape(image.width, image.height);
    for (y, row) in out.pixels.chunks_exact_mut(image.width * 3).enumerate() {
        let from = mirrored(y, down, image.height) * image.width;
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let start = (from + mirrored(x, right, image.width)) * 3;
            pixel.copy_from_slice(&image.pixels[start..start + 3]);
        }
    }
}

/// The place among `0..length` that is seen at `place` after a move by `shift`.
fn mirrored(place: usize, shift: isize, length: usize) -> usize {
    let period = (2 * (length as isize - 1)).max(1);
    let inside = (place as isize - shift).rem_euclid(period);
    inside.min(period - inside).min(length as isize - 1) as usize
}

/// A grid of overlapping patches, row by row from the top left (CPC; van den Oord et al.,
/// "Representation Learning with Contrastive Predictive Coding", 2018, Sec. 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patches {
    /// `[height, width]` of a patch.
    pub size: [usize; 2],
    /// Rows and columns from one patch to the next.
    pub stride: [usize; 2],
}

impl Patches {
    /// Rows and columns of the grid on an image of `[height, width]`; pixels beyond the last whole
    /// patch are left out. Zero if not one patch fits.
    pub fn grid(&self, image: [usize; 2]) -> [usize; 2] {
        let fit = |axis: usize| match image[axis].checked_sub(self.size[axis]) {
            Some(room) => room / self.stride[axis] + 1,
            None => 0,
        };
        [fit(0), fit(1)]
    }

    /// The patches of a grid of that many columns, endless.
    pub fn windows(&self, columns: usize) -> impl Iterator<Item = CropBox> {
        let Patches { size: [height, width], stride } = *self;
        (0..).map(move |i| {
            let (top, left) = (i / columns * stride[0], i % columns * stride[1]);
            CropBox { top, left, height, width }
        })
    }
}
