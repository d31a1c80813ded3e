//! Random streams.
//!
//! Every random decision is a function of the run's seed, a [`Purpose`] and a position, never of
//! threads, ranks or of what was drawn before. There is therefore no generator state to save: a
//! resumed run knows its seed and step, and draws the same numbers.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What a stream is for; streams of different purposes never coincide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Weights,
    /// The initial queue.
    Queue,
    /// The permutation of the key batch.
    KeyShuffle,
    /// Order and initial weights in evaluation probes.
    Probe,
    /// Residual branches that drop-path leaves out.
    DropPath,
    /// Patches that a masked autoencoder hides.
    Mask,
    /// The initial rows of a memory bank.
    Bank,
    /// Which rows of a memory bank an image is compared with.
    Negatives,
    /// How the training images of a step are mixed.
    Mixing,
    /// Where clusters of features begin.
    Clusters,
}

/// The stream for `purpose` at `position` (a step, an epoch, or 0).
pub fn stream(seed: u64, purpose: Purpose, position: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    let words = [seed, u64::from_le_bytes(*b"moco-rng"), purpose as u64, position];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A uniformly random permutation of `0..n`.
pub fn permutation(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, at| stream(seed, purpose, at).random::<u64>();
        assert_eq!(draw(1, Purpose::Queue, 2), draw(1, Purpose::Queue, 2));
        assert_ne!(draw(1, Purpose::Queue, 2), draw(2, Purpose::Queue, 2));
        assert_ne!(draw(1, Purpose::Queue, 2), draw(1, Purpose::Weights, 2));
        assert_ne!(draw(1, Purpose::Queue, 2), draw(1, Purpose::Queue, 3));
    }

    #[test]
    fn permutation_holds_each_index_once() {
        let mut order = permutation(100, &mut stream(0, Purpose::KeyShuffle, 0));
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
