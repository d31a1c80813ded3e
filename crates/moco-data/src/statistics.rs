//! Mean and standard deviation of a data set's pixels, to normalise with.

use crate::augment::Normalize;
use crate::error::{DataError, ImageError};
use crate::loader::share_out;
use crate::source::Dataset;
use std::sync::OnceLock;

/// Mean and standard deviation of R, G and B over all pixels, in units of the full range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelStatistics {
    /// Means, in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviations, in 0..=0.5.
    pub std: [f32; 3],
}

/// Sums over pixels, per channel, of levels and of their squares. Whole numbers, so that the order
/// of summation is of no consequence.
#[derive(Clone, Default)]
struct Sums {
    pixels: u64,
    levels: [u64; 3],
    squares: [u64; 3],
}

impl PixelStatistics {
    /// The statistics of the images of `indices`, each pixel counted alike; images that cannot be
    /// read are left out. Nothing if none can be read.
    ///
    /// # Errors
    /// If a server does not give the images, or a worker breaks down.
    pub fn of(
        dataset: &Dataset,
        indices: &[usize],
        threads: usize,
    ) -> Result<Option<PixelStatistics>, DataError> {
        let mut workers = vec![Sums::default(); threads.max(1)];
        let lost = OnceLock::new();
        let reachable = indices.iter().take_while(|_| lost.get().is_none());
        share_out(reachable, &mut workers, |&i, sums| match dataset.fetch(i, None) {
            Ok(image) => sums.add(image.pixels.as_chunks::<3>().0),
            Err(ImageError::Unreachable { reason }) => {
                let _ = lost.set(reason);
            }
            Err(_) => {}
        })?;
        if let Some(reason) = lost.into_inner() {
            return Err(DataError::Unreachable { reason });
        }
        let mut total = Sums::default();
        workers.iter().for_each(|sums| total.merge(sums));
        Ok((total.pixels > 0).then(|| total.statistics()))
    }

    /// The normalisation to mean 0 and variance 1; a channel that is the same everywhere is only
    /// shifted.
    pub fn normalize(&self) -> Normalize {
        let std = self.std.map(|std| if std > 0.0 { std } else { 1.0 });
        Normalize::Custom { mean: self.mean, std }
    }
}

impl Sums {
    fn add(&mut self, pixels: &[[u8; 3]]) {
        self.pixels += pixels.len() as u64;
        for pixel in pixels {
            for c in 0..3 {
                let level = u64::from(pixel[c]);
                self.levels[c] += level;
                self.squares[c] += level * level;
            }
        }
    }

    fn merge(&mut self, other: &Sums) {
        self.pixels += other.pixels;
        for c in 0..3 {
            self.levels[c] += other.levels[c];
            self.squares[c] += other.squares[c];
        }
    }

    fn statistics(&self) -> PixelStatistics {
        let n = u128::from(self.pixels);
        let mean = |c: usize| self.levels[c] as f64 / n as f64 / 255.0;
        // n^2 times the variance, exactly: no digits cancel.
        let scaled = |c: usize| {
            n * u128::from(self.squares[c])
                - u128::from(self.levels[c]) * u128::from(self.levels[c])
        };
        let std = |c: usize| (scaled(c) as f64).sqrt() / n as f64 / 255.0;
        PixelStatistics {
            mean: std::array::from_fn(|c| mean(c) as f32),
            std: std::array::from_fn(|c| std(c) as f32),
        }
    }
}
