//! Shuffling BN: He et al. 2020 (arXiv 1911.05722), Sec. 3.3.
//!
//! With split BatchNorm, query and key of one image would be normalised beside the same other
//! images, and the statistics would give the answer away. Permuting the key batch before the
//! key encoder, and back after it, breaks that leak.

use crate::batch::to_host;
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Int, Tensor, TensorData};
use moco_peers::Peers;

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

    /// Permutes the rows of a batch that is spread over the ranks: this rank gives its own, and gets
    /// those that belong in its places. The permutation is of the global batch.
    ///
    /// # Shapes
    /// `[n, H, W, C]` to the same.
    pub fn exchange(&self, x: Tensor<4>, peers: Peers) -> Tensor<4> {
        if peers.alone() {
            return self.apply(x);
        }
        let (dims, device, size) = (x.dims(), x.device(), peers.size());
        let width: usize = dims[1..].iter().product();
        let values = to_host(x);
        let mut packed = Vec::with_capacity(values.len());
        // Places of a rank, in turn: those whose row is here, and the rows.
        let rows = |rank: usize| self.order.iter().skip(rank).step_by(size);
        let mut sent = vec![0; size];
        for (rank, count) in sent.iter_mut().enumerate() {
            for row in rows(rank).filter(|row| **row % size == peers.rank()) {
                packed.extend_from_slice(&values[row / size * width..][..width]);
                *count += width;
            }
        }
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); size];
        rows(peers.rank()).enumerate().for_each(|(place, row)| places[row % size].push(place));
        let received: Vec<usize> = places.iter().map(|of| of.len() * width).collect();
        let came = peers.all_to_all(&packed, &sent, &received, "images of the keys");
        let mut out = vec![0.0; values.len()];
        for (row, place) in came.chunks_exact(width).zip(places.into_iter().flatten()) {
            out[place * width..][..width].copy_from_slice(row);
        }
        Tensor::from_data(TensorData::new(out, dims), &device)
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
