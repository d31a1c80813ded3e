//! Gaussian blur by convolution with a sampled Gaussian of a fixed number of taps, as SimCLR and
//! BYOL define it.
//!
//! SimCLR: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
//! ICML 2020, Appendix A, with a kernel of a tenth of the image's height; BYOL: Grill et al.,
//! NeurIPS 2020, Appendix B, with 23 taps. Both reference implementations pad with zeros, which
//! darkens the edge, and so does this.

use super::lanes::{level, vectorized};
use crate::image::Image;

/// How many taps the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taps {
    /// An odd number.
    Fixed(usize),
    /// A tenth of the image's height, made odd by rounding up.
    TenthOfHeight,
}

impl Taps {
    /// Taps on each side of the middle one, for an image of `height` rows.
    pub fn radius(self, height: usize) -> usize {
        match self {
            Taps::Fixed(taps) => taps / 2,
            Taps::TenthOfHeight => height / 10 / 2,
        }
    }
}

/// Blurs, and holds the buffers that this takes, so keep one per thread.
#[derive(Default)]
pub struct Convolver {
    weights: Vec<f32>,
    /// A row of the image, with the margins that the kernel reaches into.
    line: Vec<f32>,
    /// The image, blurred along rows.
    rows: Vec<f32>,
    sums: Vec<f32>,
}

impl Convolver {
    /// Blurs with standard deviation `sigma` in pixels, in single precision, rounded to levels at
    /// the end. Beyond its edges the image is black.
    pub fn blur(&mut self, image: &mut Image, sigma: f64, radius: usize) {
        self.set_weights(sigma, radius);
        vectorized(
            #[inline(always)]
            || {
                self.blur_rows(image);
                self.blur_columns(image);
            },
        );
    }

    /// A Gaussian at the whole numbers from `-radius` to `radius`, of sum 1.
    fn set_weights(&mut self, sigma: f64, radius: usize) {
        // The middle weight alone is left of a sigma of 0.
        let sigma = sigma.max(1e-3);
        let weight = |i: usize| {
            let x = i as f64 - radius as f64;
            (-x * x / (2.0 * sigma * sigma)).exp()
        };
        let sum: f64 = (0..=2 * radius).map(weight).sum();
        self.weights.clear();
        self.weights.extend((0..=2 * radius).map(|i| (weight(i) / sum) as f32));
    }

    #[inline(always)]
    fn blur_rows(&mut self, image: &Image) {
        let (stride, margin) = (image.width * 3, self.weights.len() / 2 * 3);
        self.line.clear();
        self.line.resize(stride + 2 * margin, 0.0);
        self.rows.resize(image.pixels.len(), 0.0);
        let rows = image.pixels.chunks_exact(stride).zip(self.rows.chunks_exact_mut(stride));
        for (from, to) in rows {
            for (value, &sample) in self.line[margin..].iter_mut().zip(from) {
                *value = f32::from(sample);
            }
            to.fill(0.0);
            for (tap, &weight) in self.weights.iter().enumerate() {
                add_scaled(to, &self.line[3 * tap..3 * tap + stride], weight);
            }
        }
    }

    #[inline(always)]
    fn blur_columns(&mut self, image: &mut Image) {
        let (stride, radius) = (image.width * 3, self.weights.len() / 2);
        self.sums.resize(stride, 0.0);
        for (y, out) in image.pixels.chunks_exact_mut(stride).enumerate() {
            self.sums.fill(0.0);
            for (tap, &weight) in self.weights.iter().enumerate() {
                let row = (y + tap).checked_sub(radius).filter(|&row| row < image.height);
                if let Some(row) = row {
                    add_scaled(&mut self.sums, &self.rows[row * stride..][..stride], weight);
                }
            }
            for (sample, &sum) in out.iter_mut().zip(&self.sums) {
                *sample = level(sum + 0.5);
            }
        }
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f32], values: &[f32], weight: f32) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += weight * value;
    }
}
