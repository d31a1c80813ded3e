//! Brightness, contrast, saturation and greyscale in Pillow's arithmetic.

use super::lanes::{BLOCK, Block, change_blocks, level, read_blocks, vectorized};
use crate::image::Image;

/// Scales the samples by `factor`; 0 gives black, 1 the image itself.
pub fn adjust_brightness(image: &mut Image, factor: f64) {
    change(
        image,
        #[inline(always)]
        |block| scale(block, factor as f32),
    );
}

/// Adds `amount` times the full range to the samples and clips them, as `tf.image`'s
/// `adjust_brightness` followed by a clip; 0 gives the image itself.
pub fn add_brightness(image: &mut Image, amount: f64) {
    change(
        image,
        #[inline(always)]
        |block| add(block, amount),
    );
}

/// Moves the samples away from the image's mean grey by `factor`; 0 gives that grey, 1 the image
/// itself.
pub fn adjust_contrast(image: &mut Image, factor: f64) {
    let mean = mean_luma(image);
    change(
        image,
        #[inline(always)]
        |block| stretch(block, mean, factor as f32),
    );
}

/// Moves the samples away from their pixel's grey by `factor`; 0 gives a grey image, 1 the image
/// itself.
pub fn adjust_saturation(image: &mut Image, factor: f64) {
    change(
        image,
        #[inline(always)]
        |block| saturate(block, factor as f32),
    );
}

/// Replaces each pixel by its grey.
pub fn grayscale(image: &mut Image) {
    change(
        image,
        #[inline(always)]
        |block| *block = [luma(block); 3],
    );
}

/// Leaves one channel as it is and sets the two others to those of `fill`: Doersch et al. 2015 (arXiv
/// 1505.05192), Sec. 3.1, without the noise that they put there.
pub fn keep_channel(image: &mut Image, channel: usize, fill: [u8; 3]) {
    for pixel in image.pixels.chunks_exact_mut(3) {
        let kept = pixel[channel];
        pixel.copy_from_slice(&fill);
        pixel[channel] = kept;
    }
}

/// Applies a change to the pixels of an image, block by block.
#[inline(always)]
pub(super) fn change(image: &mut Image, mut f: impl FnMut(&mut Block)) {
    vectorized(
        #[inline(always)]
        || {
            change_blocks(
                &mut image.pixels,
                #[inline(always)]
                |block, _| f(block),
            );
        },
    );
}

/// [`adjust_brightness`] of a block.
#[inline(always)]
pub(super) fn scale(block: &mut Block, factor: f32) {
    for channel in block {
        blend_all(&[0; BLOCK], channel, factor);
    }
}

/// [`add_brightness`] of a block.
#[inline(always)]
pub(super) fn add(block: &mut Block, amount: f64) {
    let levels = (amount.clamp(-1.0, 1.0) * 255.0).round() as i16;
    let (up, down) = (levels.max(0) as u8, (-levels).max(0) as u8);
    for channel in block {
        for sample in channel {
            *sample = sample.saturating_add(up).saturating_sub(down);
        }
    }
}

/// [`adjust_contrast`] of a block of an image whose mean grey is known.
#[inline(always)]
pub(super) fn stretch(block: &mut Block, mean: u8, factor: f32) {
    for channel in block {
        blend_all(&[mean; BLOCK], channel, factor);
    }
}

/// [`adjust_saturation`] of a block.
#[inline(always)]
pub(super) fn saturate(block: &mut Block, factor: f32) {
    let grey = luma(block);
    for channel in block {
        blend_all(&grey, channel, factor);
    }
}

/// ITU-R 601 luma in 16-bit fixed point, rounded: Pillow's `convert("L")`.
#[inline(always)]
fn luma([r, g, b]: &Block) -> [u8; BLOCK] {
    let mut grey = [0; BLOCK];
    for i in 0..BLOCK {
        let sum = u32::from(r[i]) * 19595 + u32::from(g[i]) * 38470 + u32::from(b[i]) * 7471;
        grey[i] = ((sum + 0x8000) >> 16) as u8;
    }
    grey
}

/// `from + factor (to - from)`, clipped to a level and rounded down: Pillow's `Image.blend`.
#[inline(always)]
pub(super) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (a, b) = (f32::from(from), f32::from(to));
    level(a + factor * (b - a))
}

/// [`blend`] of blocks, in the place of `to`.
#[inline(always)]
fn blend_all(from: &[u8; BLOCK], to: &mut [u8; BLOCK], factor: f32) {
    for i in 0..BLOCK {
        to[i] = blend(from[i], to[i], factor);
    }
}

/// Sum of the grey levels of the first `n` pixels of a block.
#[inline(always)]
pub(super) fn luma_sum(block: &Block, n: usize) -> u64 {
    let grey = luma(block);
    let mut sum = 0;
    if n == BLOCK {
        // Of a length that the compiler knows, and so in vectors.
        for grey in grey {
            sum += u32::from(grey);
        }
    } else {
        sum = grey[..n].iter().map(|&grey| u32::from(grey)).sum();
    }
    u64::from(sum)
}

/// Mean of the grey levels, rounded to a level, from their sum.
pub(super) fn mean_level(sum: u64, pixels: usize) -> u8 {
    (sum as f64 / pixels as f64 + 0.5) as u8
}

/// Mean of the grey image, rounded to a level.
fn mean_luma(image: &Image) -> u8 {
    let mut sum = 0;
    vectorized(
        #[inline(always)]
        || {
            read_blocks(
                &image.pixels,
                #[inline(always)]
                |block, n| sum += luma_sum(block, n),
            );
        },
    );
    mean_level(sum, image.pixels.len() / 3)
}
