//! The newest feature vectors of past batches, newest batch first.

use crate::nn::Buffer;
use burn::tensor::{Device, Tensor, s};

/// A window over past features, `[L, D]`, that is of use once it is full: SwAV's queue.
#[derive(Debug)]
pub struct RecentFeatures {
    rows: Buffer<2>,
    /// Rows written so far.
    written: u64,
}

crate::module!(RecentFeatures { rows, written });

impl RecentFeatures {
    /// An empty window of `length` rows.
    pub fn new(length: usize, dim: usize, device: &Device) -> Self {
        Self { rows: Buffer::new(Tensor::zeros([length, dim], device)), written: 0 }
    }

    /// All rows, once as many have been written as there is place for.
    pub fn full(&self) -> Option<Tensor<2>> {
        let [length, _] = self.rows.val().dims();
        (self.written >= length as u64 && length > 0).then(|| self.rows.val())
    }

    /// Puts `new` in front; the oldest rows fall off the end.
    ///
    /// # Shapes
    /// `new` is `[n, D]`, outside autodiff, n at most L.
    pub fn push(&mut self, new: Tensor<2>) {
        let [length, _] = self.rows.val().dims();
        let [n, _] = new.dims();
        self.rows.update(|old| Tensor::cat(vec![new, old.slice(s![0..length - n, ..])], 0));
        self.written += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;

    #[test]
    fn is_full_after_as_many_rows_and_keeps_the_newest_first() {
        let device = Device::flex();
        let rows =
            |values: &[f32]| Tensor::<1>::from_data(values, &device).reshape([values.len(), 1]);
        let mut recent = RecentFeatures::new(4, 1, &device);
        recent.push(rows(&[1.0, 2.0]));
        assert!(recent.full().is_none());
        recent.push(rows(&[3.0, 4.0]));
        assert_eq!(to_host(recent.full().unwrap()), [3.0, 4.0, 1.0, 2.0]);
        recent.push(rows(&[5.0]));
        assert_eq!(to_host(recent.full().unwrap()), [5.0, 3.0, 4.0, 1.0]);
        let mut uneven = RecentFeatures::new(3, 1, &device);
        uneven.push(rows(&[1.0, 2.0]));
        assert!(uneven.full().is_none());
        uneven.push(rows(&[3.0, 4.0]));
        assert_eq!(to_host(uneven.full().unwrap()), [3.0, 4.0, 1.0]);
        assert!(RecentFeatures::new(0, 1, &device).full().is_none());
    }
}
