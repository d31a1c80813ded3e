//! SwAV's prototypes: unit vectors that stand for clusters.

use crate::nn::{Module, Param, TensorLeaf, Visitor, init};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// K prototypes of width D, `[K, D]`, trained, without bias.
#[derive(Debug)]
pub struct Prototypes {
    weight: Param<2>,
}

impl Module for Prototypes {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("weight", &mut self.weight);
    }
}

impl Prototypes {
    /// Drawn as a linear layer of torch.
    pub fn new(count: usize, dim: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        Self { weight: Param::new(init::linear_uniform([count, dim], dim, rng, device)) }
    }

    /// Scales every prototype to unit length; before each step, outside the graph.
    pub fn normalize(&mut self) {
        let shape = self.weight.val().dims();
        let rows = self.weight.flat().reshape(shape);
        self.weight.set_flat(crate::loss::l2_normalize(rows).flatten(0, 1));
    }

    /// Inner products with all prototypes.
    ///
    /// # Shapes
    /// `z` is `[N, D]`, the result `[N, K]`.
    pub fn scores(&self, z: Tensor<2>) -> Tensor<2> {
        z.matmul(self.weight.val().transpose())
    }

    /// As [`Prototypes::scores`], outside the graph.
    pub fn scores_without_gradient(&self, z: Tensor<2>) -> Tensor<2> {
        z.without_autodiff().matmul(self.weight.val().without_autodiff().transpose())
    }
}
