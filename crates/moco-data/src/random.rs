//! Random numbers that mean the same on every machine and in every release.
//!
//! The stream is ChaCha8. What is made of it (fractions, bounded integers, permutations) is written
//! out here rather than taken from a distribution library, because a new release of such a
//! library may change its sampling and with it every augmentation of a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Names the randomness of one view of one image. Equal keys give equal views, whatever thread
/// draws them, in whatever order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewKey {
    /// Seed of the run.
    pub seed: u64,
    /// Pass over the data.
    pub epoch: u64,
    /// Index of the image in the data set.
    pub image: u64,
    /// Which of the image's views.
    pub view: u64,
}

impl ViewKey {
    /// The generator of this view: ChaCha8 keyed with the four numbers as 32 little-endian bytes.
    pub fn random(self) -> Random {
        Random::from_words([self.seed, self.epoch, self.image, self.view])
    }
}

/// A ChaCha8 stream with the few draws that augmentation needs.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream whose 256-bit key is these words, little-endian.
    pub fn from_words(words: [u64; 4]) -> Random {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Random(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `0..1`, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (-53f64).exp2()
    }

    /// Uniform between `low` and `high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        // In 0..=1 without 0, whose logarithm is infinite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// True with probability `p`; never for 0, always for 1.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in `0..n`, without bias.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no number lies below 0");
        let n = n as u64;
        // Draws from the last, incomplete stretch of length n would favour small results.
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return (draw % n) as usize;
            }
        }
    }

    /// Puts the items in a uniformly drawn order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
