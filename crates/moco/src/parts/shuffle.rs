//! Shuffling BN: He et al. 2020 (arXiv 1911.05722), Sec. 3.3.
//!
//! With split BatchNorm, query and key of one image would be normalised beside the same other
//! images, and the statistics would give the answer away. Permuting the key batch before the
//! key encoder, and back after it, breaks that leak.

use crate::rng::{self, Purpose};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// One permutation of a key batch.
pub struct KeyShuffle {
    order: Vec<usize>,
    device: Device,
}

impl KeyShuffle {
    /// The permutation of `n` keys for a position in the run; a function of its arguments alone.
    pub fn draw(n: usize, seed: u64, position: u64, device: &Device) -> Self {
        let mut rng = rng::stream(seed, Purpose::KeyShuffle, position);
        Self::new(rng::permutation(n, &mut rng), device)
    }

    /// The given permutation: place i of the shuffled batch holds row `order[i]`.
    pub fn new(order: Vec<usize>, device: &Device) -> Self {
        Self { order, device: device.clone() }
    }

    /// Permutes the rows of a batch.
    pub fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        x.select(0, self.indices(self.order.iter().copied()))
    }

    /// Puts the rows back.
    pub fn undo<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut inverse = vec![0; self.order.len()];
        for (place, &row) in self.order.iter().enumerate() {
            inverse[row] = place;
        }
        x.select(0, self.indices(inverse.into_iter()))
    }

    fn indices(&self, rows: impl Iterator<Item = usize>) -> Tensor<1, Int> {
        let rows: Vec<i32> = rows.map(|row| row as i32).collect();
        let n = rows.len();
        Tensor::from_data(TensorData::new(rows, [n]), &self.device)
    }
}
