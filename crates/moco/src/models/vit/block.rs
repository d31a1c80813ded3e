//! The transformer block. Dosovitskiy et al. 2020 (arXiv 2010.11929), Eq. 2 and 3.

use super::config::VitInit;
use crate::nn::{Attention, LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    pub width: usize,
    pub heads: usize,
    pub mlp_ratio: usize,
    pub qkv_bias: bool,
}

/// Attention, then an MLP, each on a LayerNorm of its input and added to it.
#[derive(Debug)]
pub(crate) struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

crate::module!(Block { norm1, attn, norm2, mlp });

#[derive(Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

crate::module!(Mlp { fc1, fc2 });

impl Block {
    pub(crate) fn new(
        shape: BlockShape,
        init: VitInit,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let BlockShape { width, heads, mlp_ratio, qkv_bias } = shape;
        let hidden = mlp_ratio * width;
        let qkv = init.qkv(width, qkv_bias, rng, device);
        let proj = init.linear([width, width], rng, device);
        let fc1 = init.linear([width, hidden], rng, device);
        let fc2 = init.linear([hidden, width], rng, device);
        Self {
            norm1: LayerNorm::new(width, device),
            attn: Attention::new(qkv, proj, heads),
            norm2: LayerNorm::new(width, device),
            mlp: Mlp { fc1, fc2 },
        }
    }

    /// `branch` is applied to what each of the two residual branches adds: drop-path, or nothing.
    ///
    /// # Shapes
    /// `[N, T, D]` to the same.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        branch: impl FnMut(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let tokens = x.dims()[1];
        self.forward_first(x, tokens, branch)
    }

    /// The output's first `count` tokens. For the others nothing is computed but what those ask of
    /// them, their keys and values: with a `count` of 1 that saves three quarters of the work in
    /// linear layers.
    ///
    /// # Shapes
    /// `[N, T, D]` to `[N, count, D]`.
    pub(crate) fn forward_first(
        &self,
        x: Tensor<3>,
        count: usize,
        mut branch: impl FnMut(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let attended = self.attn.forward(self.norm1.forward(x.clone()), count);
        let x = if count < x.dims()[1] { x.narrow(1, 0, count) } else { x };
        let x = x + branch(attended); // Eq. 2
        let mixed = self.mlp.forward(self.norm2.forward(x.clone()));
        x + branch(mixed) // Eq. 3
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.fc1.forward_gelu(x))
    }
}
