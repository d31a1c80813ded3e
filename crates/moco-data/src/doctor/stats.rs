//! Means and deviations, and the distribution of sizes.

use super::report::{Bin, Range};
use crate::image::Image;

/// Lower ends of the bins of [`bins`].
const EDGES: [u32; 9] = [0, 32, 64, 128, 224, 512, 1024, 2048, 4096];

/// One per unit in the fixed point of [`Moments`].
const ONE: f64 = (1u64 << 32) as f64;

/// Sums over images of the mean and the mean square of each channel, in units of 2^-32 of a level
/// and a squared level. As integers, they do not depend on the order of the images.
#[derive(Clone, Copy, Default)]
pub(super) struct Moments {
    images: u64,
    first: [u128; 3],
    second: [u128; 3],
}

impl Moments {
    /// The moments of one image's levels.
    pub(super) fn of(image: &Image) -> Moments {
        let (mut first, mut second) = ([0u64; 3], [0u64; 3]);
        for pixel in image.pixels.chunks_exact(3) {
            for (c, &level) in pixel.iter().enumerate() {
                let level = u64::from(level);
                first[c] += level;
                second[c] += level * level;
            }
        }
        let pixels = (image.pixels.len() / 3).max(1) as u128;
        let mean = |sum: u64| (u128::from(sum) << 32) / pixels;
        Moments { images: 1, first: first.map(mean), second: second.map(mean) }
    }

    pub(super) fn add(&mut self, other: &Moments) {
        self.images += other.images;
        for c in 0..3 {
            self.first[c] += other.first[c];
            self.second[c] += other.second[c];
        }
    }

    /// Mean and standard deviation of each channel, of levels in 0..=1.
    pub(super) fn mean_and_std(&self) -> ([f64; 3], [f64; 3]) {
        let images = self.images.max(1) as f64;
        let mean = self.first.map(|sum| sum as f64 / ONE / images / 255.0);
        let square = self.second.map(|sum| sum as f64 / ONE / images / (255.0 * 255.0));
        let std = std::array::from_fn(|c| (square[c] - mean[c] * mean[c]).max(0.0).sqrt());
        (mean, std)
    }
}

/// Smallest, median and largest; sorts the values.
pub(super) fn range(values: &mut [u32]) -> Range {
    values.sort_unstable();
    match (values.first(), values.last()) {
        (Some(&min), Some(&max)) => Range { min, median: values[values.len() / 2], max },
        _ => Range::default(),
    }
}

/// The distribution of sides, without the bins that lie empty at either end.
pub(super) fn bins(sides: impl Iterator<Item = u32>) -> Vec<Bin> {
    let mut bins: Vec<Bin> = (0..EDGES.len())
        .map(|i| Bin { from: EDGES[i], below: EDGES.get(i + 1).copied(), images: 0 })
        .collect();
    for side in sides {
        bins[EDGES.partition_point(|&edge| edge <= side) - 1].images += 1;
    }
    let used = |bin: &Bin| bin.images > 0;
    let first = bins.iter().position(used).unwrap_or(bins.len());
    let end = bins.iter().rposition(used).map_or(first, |last| last + 1);
    bins[first..end].to_vec()
}
