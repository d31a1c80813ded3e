//! The running mean of a teacher's outputs: DINO's centre.
//!
//! Caron et al. 2021 (arXiv 2104.14294), Sec. 3.1, Eq. 4.

use super::mean_over_ranks;
use crate::nn::Buffer;
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;

/// `c <- m c + (1 - m) mean(outputs)`.
#[derive(Debug)]
pub struct Center {
    value: Buffer<1>,
    peers: Peers,
}

impl crate::nn::Module for Center {
    fn visit(&mut self, visitor: &mut crate::nn::Visitor<'_>) {
        self.value.visit(visitor);
        self.peers.visit(visitor);
    }
}

impl Center {
    /// Starts at 0.
    pub fn new(outputs: usize, device: &Device) -> Self {
        Self { value: Buffer::new(Tensor::zeros([outputs], device)), peers: Peers::SOLO }
    }

    /// The centre, `[1, K]`.
    pub fn row(&self) -> Tensor<2> {
        self.value.val().unsqueeze()
    }

    /// Moves towards the mean of `outputs`, `[N, K]`, over all ranks, with momentum `m`.
    pub fn update(&mut self, outputs: Tensor<2>, m: f64) {
        let mean = outputs.mean_dim(0).flatten(0, 1);
        let mean = mean_over_ranks(mean, self.peers, "outputs of the teacher");
        self.value.update(|center| center * m + mean * (1.0 - m));
    }
}
