//! The dictionary: a first-in, first-out queue of keys.
//!
//! He et al. 2020 (arXiv 1911.05722), Sec. 3.2, "Dictionary as a queue". The oldest keys are the
//! least consistent with the newest, so they are the ones replaced.

use crate::batch::to_host;
use crate::nn::{Buffer, init};
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor, s};
use std::collections::HashMap;
use std::ops::Range;

/// K keys of unit length, whose images they are, and the position that the next key overwrites.
///
/// Any number of keys can be written, also when it does not divide K: writes wrap round.
#[derive(Debug)]
pub struct Queue {
    keys: Buffer<2>,
    /// Position in the data set of each key's image; [`NOBODY`] for the random keys of the start.
    /// Exact in f32 up to 2^24 images, beyond which an image stands for a few. They lie with the host, which
    /// looks the batch up in them, so that a GPU is not waited for.
    owners: Buffer<1>,
    pointer: u64,
    /// Keys of the current batch and their images.
    held: Vec<(Tensor<2>, Vec<usize>)>,
}

crate::module!(Queue { keys, owners, pointer });

const NOBODY: f32 = -1.0;

impl Queue {
    /// `length` random unit vectors of width `dim`, a function of `seed` alone.
    ///
    /// Normalised normal draws, as the reference initialises its queue.
    pub fn new(length: usize, dim: usize, seed: u64, device: &Device) -> Self {
        let mut rng = rng::stream(seed, Purpose::Queue, 0);
        let keys = init::normal([length, dim], 1.0, &mut rng, device);
        let owners = Tensor::full([length], NOBODY, &Device::flex());
        let keys = Buffer::new(crate::loss::l2_normalize(keys));
        Self { keys, owners: Buffer::new(owners), pointer: 0, held: Vec::new() }
    }

    /// The keys, `[K, D]`, in no particular order, outside autodiff.
    pub fn keys(&self) -> Tensor<2> {
        self.keys.val()
    }

    /// Which keys belong to which of the given images: (position in `images`, row) pairs. A query
    /// that meets a key of its own image among the negatives is pushed away from itself.
    pub fn own_keys(&self, images: &[usize]) -> Vec<(usize, usize)> {
        // The batch is small beside the queue, so it is the batch that is looked up.
        let mut positions: HashMap<u64, Vec<usize>> = HashMap::new();
        for (i, image) in images.iter().enumerate() {
            positions.entry(*image as f32 as u64).or_default().push(i);
        }
        let mut own = Vec::new();
        for (row, owner) in to_host(self.owners.val()).into_iter().enumerate() {
            if owner != NOBODY {
                let queries = positions.get(&(owner as u64)).into_iter().flatten();
                own.extend(queries.map(|i| (*i, row)));
            }
        }
        own.sort_unstable();
        own
    }

    /// Keeps keys until [`Self::enqueue_held`], after the update: a batch, whatever its parts, meets
    /// none of its own keys in the queue.
    pub fn hold(&mut self, new: Tensor<2>, images: Vec<usize>) {
        self.held.push((new, images));
    }

    /// Enqueues what was held, in its order.
    pub fn enqueue_held(&mut self) {
        for (keys, images) in std::mem::take(&mut self.held) {
            self.enqueue(keys, &images);
        }
    }

    /// Replaces the oldest keys by those of `images`.
    ///
    /// # Shapes
    /// `new` is `[n, D]`, rows of unit length; of more than K rows the last K are kept.
    ///
    /// # Panics
    /// If `images` are not as many as keys.
    pub fn enqueue(&mut self, new: Tensor<2>, images: &[usize]) {
        let [length, _] = self.keys.val().dims();
        let [n, _] = new.dims();
        assert_eq!(n, images.len(), "one image for each key");
        let skipped = n.saturating_sub(length);
        let start = (self.pointer as usize + skipped) % length;
        let kept = n - skipped;
        let before_wrap = kept.min(length - start);

        self.write(start, new.clone(), images, skipped..skipped + before_wrap);
        if before_wrap < kept {
            self.write(0, new, images, skipped + before_wrap..n);
        }
        self.pointer = ((start + kept) % length) as u64;
    }

    /// Copies the keys `from` of `new` to the rows from `start` on.
    fn write(&mut self, start: usize, new: Tensor<2>, images: &[usize], from: Range<usize>) {
        let to = start..start + from.len();
        let owners: Vec<f32> = images[from.clone()].iter().map(|image| *image as f32).collect();
        let owners = Tensor::<1>::from_data(owners.as_slice(), &Device::flex());
        let new = new.slice(s![from, ..]);
        self.keys.update(|keys| keys.slice_assign(s![to.clone(), ..], new));
        // A checkpoint brings them to where all else is.
        self.owners.update(|all| all.to_device(&Device::flex()).slice_assign(s![to], owners));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        queue.enqueue(rows(10..13), &(10..13).collect::<Vec<_>>());
        queue.enqueue(rows(20..23), &(20..23).collect::<Vec<_>>());
        assert_eq!(first_column(&queue), [22.0, 11.0, 12.0, 20.0, 21.0]);
        queue.hold(rows(30..31), vec![30]);
        queue.hold(rows(31..34), vec![31, 32, 33]);
        assert_eq!(first_column(&queue), [22.0, 11.0, 12.0, 20.0, 21.0], "held, not written");
        queue.enqueue_held();
        assert_eq!(first_column(&queue), [22.0, 30.0, 31.0, 32.0, 33.0]);
        assert_eq!(queue.pointer, 0);
    }

    #[test]
    fn own_keys_are_those_of_the_same_image() {
        let mut queue = Queue::new(5, 2, 0, &Device::flex());
        assert!(queue.own_keys(&[0, 1]).is_empty(), "random keys belong to nobody");
        queue.enqueue(rows(0..3), &[7, 8, 7]);
        assert_eq!(queue.own_keys(&[9, 7, 8]), [(1, 0), (1, 2), (2, 1)]);
        queue.enqueue(rows(0..3), &[1, 2, 3]);
        assert_eq!(queue.own_keys(&[7, 3]), [(0, 2), (1, 0)], "row 0 was overwritten");
    }

    #[test]
    fn more_keys_than_places_leave_the_last_ones() {
        let mut queue = Queue::new(3, 2, 0, &Device::flex());
        queue.enqueue(rows(0..1), &(0..1).collect::<Vec<_>>());
        queue.enqueue(rows(10..18), &(10..18).collect::<Vec<_>>());
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
