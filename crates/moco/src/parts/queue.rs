//! The dictionary: a first-in, first-out queue of keys.
//!
//! He et al. 2020 (arXiv 1911.05722), Sec. 3.2, "Dictionary as a queue". The oldest keys are the
//! least consistent with the newest, so they are the ones replaced.

use crate::nn::{Buffer, init};
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor, s};

/// K keys of unit length and the position that the next key overwrites.
///
/// Any number of keys can be written, also when it does not divide K: writes wrap round.
#[derive(Debug)]
pub struct Queue {
    keys: Buffer<2>,
    pointer: u64,
}

crate::module!(Queue { keys, pointer });

impl Queue {
    /// `length` random unit vectors of width `dim`, a function of `seed` alone.
    ///
    /// Normalised normal draws, as the reference initialises its queue.
    pub fn new(length: usize, dim: usize, seed: u64, device: &Device) -> Self {
        let mut rng = rng::stream(seed, Purpose::Queue, 0);
        let keys = init::normal([length, dim], 1.0, &mut rng, device);
        Self { keys: Buffer::new(crate::loss::l2_normalize(keys)), pointer: 0 }
    }

    /// The keys, `[K, D]`, in no particular order, outside autodiff.
    pub fn keys(&self) -> Tensor<2> {
        self.keys.val()
    }

    /// Replaces the oldest keys.
    ///
    /// # Shapes
    /// `new` is `[n, D]`, rows of unit length; of more than K rows the last K are kept.
    pub fn enqueue(&mut self, new: Tensor<2>) {
        let [length, _] = self.keys.val().dims();
        let [n, _] = new.dims();
        let skipped = n.saturating_sub(length);
        let start = (self.pointer as usize + skipped) % length;
        let kept = n - skipped;
        let before_wrap = kept.min(length - start);

        let head = new.clone().slice(s![skipped..skipped + before_wrap, ..]);
        self.keys.update(|keys| keys.slice_assign(s![start..start + before_wrap, ..], head));
        if before_wrap < kept {
            let tail = new.slice(s![skipped + before_wrap..n, ..]);
            self.keys.update(|keys| keys.slice_assign(s![0..kept - before_wrap, ..], tail));
        }
        self.pointer = ((start + kept) % length) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use burn::tensor::TensorData;

    fn rows(range: std::ops::Range<usize>) -> Tensor<2> {
        let values: Vec<f32> = range.clone().flat_map(|i| [i as f32; 2]).collect();
        Tensor::from_data(TensorData::new(values, [range.len(), 2]), &Device::flex())
    }

    fn first_column(queue: &Queue) -> Vec<f32> {
        let values = to_host(queue.keys());
        values.iter().step_by(2).copied().collect()
    }

    /// METHODS test (b): the pointer wraps, for a length that is no multiple of the batch.
    #[test]
    fn writes_wrap_round_and_replace_the_oldest() {
        let mut queue = Queue::new(5, 2, 0, &Device::flex());
        queue.enqueue(rows(10..13));
        queue.enqueue(rows(20..23));
        assert_eq!(first_column(&queue), [22.0, 11.0, 12.0, 20.0, 21.0]);
        queue.enqueue(rows(30..34));
        assert_eq!(first_column(&queue), [22.0, 30.0, 31.0, 32.0, 33.0]);
        assert_eq!(queue.pointer, 0);
    }

    #[test]
    fn more_keys_than_places_leave_the_last_ones() {
        let mut queue = Queue::new(3, 2, 0, &Device::flex());
        queue.enqueue(rows(0..1));
        queue.enqueue(rows(10..18));
        // Written one by one from position 1, key 10+i lands on (1 + i) mod 3.
        assert_eq!(first_column(&queue), [15.0, 16.0, 17.0]);
        assert_eq!(queue.pointer, 0);
    }

    #[test]
    fn starts_as_unit_vectors_that_depend_on_the_seed_only() {
        let keys = |seed| Queue::new(7, 16, seed, &Device::flex()).keys();
        let lengths = to_host(keys(3).square().sum_dim(1));
        assert!(lengths.iter().all(|l| (l - 1.0).abs() < 1e-5), "{lengths:?}");
        assert_eq!(keys(3).into_data(), keys(3).into_data());
        assert_ne!(keys(3).into_data(), keys(4).into_data());
    }
}
