//! Gaussian blur as three box blurs, Pillow's `ImageFilter.GaussianBlur`.
//!
//! The box has a fractional radius: whole pixels weigh the same, the two beyond them a part of
//! that. Which radius gives three passes the variance of the Gaussian: Gwosdek et al., "Theoretical
//! Foundations of Gaussian Convolution by Extended Box Filtering", SSVM 2011, Sec. 3.

use super::lanes::vectorized;
use crate::image::Image;

/// Passes along each axis.
const PASSES: usize = 3;

/// Weights are in units of 2^-24.
const FRACTION_BITS: u32 = 24;

/// Blurs with standard deviation `sigma` in pixels; edges are extended by their last pixel.
///
/// `spare` is working memory.
pub fn gaussian_blur(image: &mut Image, sigma: f64, spare: &mut Vec<u8>) {
    let kernel = BoxKernel::for_gaussian(sigma as f32);
    if !image.pixels.is_empty() {
        vectorized(
            #[inline(always)]
            || blur(image, &kernel, spare),
        );
    }
}

#[inline(always)]
fn blur(image: &mut Image, kernel: &BoxKernel, spare: &mut Vec<u8>) {
    let stride = image.width * 3;
    spare.resize(stride + 6 * (kernel.radius + 1), 0);
    for row in image.pixels.chunks_exact_mut(stride) {
        for _ in 0..PASSES {
            kernel.blur_row(row, spare);
        }
    }
    spare.resize(image.pixels.len(), 0);
    for _ in 0..PASSES {
        kernel.blur_columns(&image.pixels, spare, stride);
        std::mem::swap(&mut image.pixels, spare);
    }
}

/// A box of `2 radius + 1` whole pixels and a partial one at each end.
struct BoxKernel {
    radius: usize,
    whole: u32,
    part: u32,
}

impl BoxKernel {
    /// The box of which three passes have the variance `sigma^2`.
    fn for_gaussian(sigma: f32) -> BoxKernel {
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((length - 1.0) / 2.0).floor();
        let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
            / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
        BoxKernel::new(whole + part)
    }

    fn new(radius: f32) -> BoxKernel {
        let one = 1u32 << FRACTION_BITS;
        let whole = (one as f32 / (radius * 2.0 + 1.0)) as u32;
        let part = (one - (2 * radius as u32 + 1) * whole) / 2;
        BoxKernel { radius: radius as usize, whole, part }
    }

    /// Blurs along a row of RGB pixels. `padded` takes the row and `radius + 1` pixels at each end.
    #[inline(always)]
    fn blur_row(&self, row: &mut [u8], padded: &mut [u8]) {
        let (n, margin) = (row.len(), 3 * (self.radius + 1));
        let first = [row[0], row[1], row[2]];
        let last = [row[n - 3], row[n - 2], row[n - 1]];
        padded[..margin].as_chunks_mut::<3>().0.fill(first);
        padded[margin..margin + n].copy_from_slice(row);
        padded[margin + n..].as_chunks_mut::<3>().0.fill(last);
        self.blur_along(
            #[inline(always)]
            |step| &padded[3 * step..3 * step + n],
            row,
        );
    }

    /// Blurs along columns; a row has `stride` samples.
    #[inline(always)]
    fn blur_columns(&self, from: &[u8], to: &mut [u8], stride: usize) {
        let last = from.len() / stride - 1;
        for (y, out) in to.chunks_exact_mut(stride).enumerate() {
            self.blur_along(
                #[inline(always)]
                |step| {
                    let y = (y + step).saturating_sub(self.radius + 1).min(last);
                    &from[y * stride..(y + 1) * stride]
                },
                out,
            );
        }
    }

    /// Weighs the samples `at(0)` to `at(2 radius + 2)`, which lie before, on and behind those of
    /// `out`. Radii up to 2, those of every sigma below 3.4, keep their sums in registers.
    #[inline(always)]
    fn blur_along<'a>(&self, at: impl Fn(usize) -> &'a [u8], out: &mut [u8]) {
        match self.radius {
            0 => self.blur_fixed::<1>(at, out),
            1 => self.blur_fixed::<3>(at, out),
            2 => self.blur_fixed::<5>(at, out),
            radius => {
                let mut sums = vec![0; out.len()];
                for step in 1..=2 * radius + 1 {
                    for (sum, &sample) in sums.iter_mut().zip(at(step)) {
                        *sum += u32::from(sample);
                    }
                }
                self.finish(
                    #[inline(always)]
                    |i| sums[i],
                    [at(0), at(2 * radius + 2)],
                    out,
                );
            }
        }
    }

    #[inline(always)]
    fn blur_fixed<'a, const N: usize>(&self, at: impl Fn(usize) -> &'a [u8], out: &mut [u8]) {
        let n = out.len();
        let mut whole: [&[u8]; N] = [&[]; N];
        for step in 0..N {
            whole[step] = &at(step + 1)[..n];
        }
        self.finish(
            #[inline(always)]
            |i| {
                let mut sum = 0;
                for samples in whole {
                    sum += u32::from(samples[i]);
                }
                sum
            },
            [at(0), at(N + 1)],
            out,
        );
    }

    /// Writes the levels from the sums of whole pixels and from the partial pixels.
    #[inline(always)]
    fn finish(&self, sum: impl Fn(usize) -> u32, part: [&[u8]; 2], out: &mut [u8]) {
        let half = 1 << (FRACTION_BITS - 1);
        let [before, behind] = part;
        let (before, behind) = (&before[..out.len()], &behind[..out.len()]);
        for i in 0..out.len() {
            let ends = u32::from(before[i]) + u32::from(behind[i]);
            out[i] = ((sum(i) * self.whole + ends * self.part + half) >> FRACTION_BITS) as u8;
        }
    }
}
