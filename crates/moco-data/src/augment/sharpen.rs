//! Sharpness.

use super::color::blend;
use super::lanes::vectorized;
use crate::image::Image;

/// Moves the samples away from a smoothed image by `factor`, as Pillow's `ImageEnhance.Sharpness`:
/// 0 gives the smoothed image, 1 the image itself, 2 sharpens.
///
/// Smoothing weighs a pixel 5/13 and each of its eight neighbours 1/13; the pixels at the edge stay.
pub fn adjust_sharpness(image: &Image, factor: f64, out: &mut Image) {
    out.copy_from(image);
    let stride = image.width * 3;
    vectorized(
        #[inline(always)]
        || {
            for y in 1..image.height.saturating_sub(1) {
                let row = |y: usize| &image.pixels[y * stride..][..stride];
                let rows = [row(y - 1), row(y), row(y + 1)];
                sharpen_row(rows, factor as f32, &mut out.pixels[y * stride..][..stride]);
            }
        },
    );
}

#[inline(always)]
fn sharpen_row(rows: [&[u8]; 3], factor: f32, out: &mut [u8]) {
    for i in 3..out.len().saturating_sub(3) {
        let mut sum = 4 * u16::from(rows[1][i]);
        for row in rows {
            sum += u16::from(row[i - 3]) + u16::from(row[i]) + u16::from(row[i + 3]);
        }
        // Rounded: no multiple of 1/13 is halfway between two levels.
        out[i] = blend(((sum + 6) / 13) as u8, rows[1][i], factor);
    }
}
