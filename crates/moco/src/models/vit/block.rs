//! The transformer block. Dosovitskiy et al. 2020 (arXiv 2010.11929), Eq. 2 and 3.

use super::config::{VitConfig, VitInit};
use crate::config::MlpKind;
use crate::nn::{Attention, LayerNorm, Linear, Param};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    pub width: usize,
    pub heads: usize,
    pub hidden: usize,
    pub mlp: MlpKind,
    pub qkv_bias: bool,
    pub layer_scale: Option<f64>,
    pub norm_epsilon: f64,
}

impl BlockShape {
    /// The shape of every block of a network.
    pub(crate) fn of(config: &VitConfig) -> Self {
        let VitConfig { width, heads, hidden, mlp, qkv_bias, layer_scale, norm_epsilon, .. } =
            *config;
        Self { width, heads, hidden, mlp, qkv_bias, layer_scale, norm_epsilon }
    }
}

/// Attention, then an MLP, each on a LayerNorm of its input and added to it.
#[derive(Debug)]
pub(crate) struct Block {
    norm1: LayerNorm,
    attn: Attention,
    ls1: Option<LayerScale>,
    norm2: LayerNorm,
    mlp: Mlp,
    ls2: Option<LayerScale>,
}

crate::module!(Block { norm1, attn, ls1, norm2, mlp, ls2 });

#[derive(Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    kind: MlpKind,
}

crate::module!(Mlp { fc1, fc2 });

/// One scale per channel for what a residual branch adds.
#[derive(Debug)]
struct LayerScale {
    /// `[D]`.
    gamma: Param<1>,
}

crate::module!(LayerScale { gamma });

impl LayerScale {
    fn new(start: f64, width: usize, device: &Device) -> Self {
        Self { gamma: Param::new(Tensor::full([width], start, device)) }
    }
}

/// What a branch adds, under its scales if there are any.
fn scaled(scale: Option<&LayerScale>, branch: Tensor<3>) -> Tensor<3> {
    match scale {
        Some(scale) => branch * scale.gamma.val().reshape([1, 1, -1]),
        None => branch,
    }
}

impl Block {
    pub(crate) fn new(
        shape: BlockShape,
        init: VitInit,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let BlockShape { width, heads, hidden, mlp: kind, .. } = shape;
        let qkv = init.qkv(width, shape.qkv_bias, rng, device);
        let proj = init.linear([width, width], rng, device);
        let first = if kind == MlpKind::Swiglu { 2 * hidden } else { hidden };
        let fc1 = init.linear([width, first], rng, device);
        let fc2 = init.linear([hidden, width], rng, device);
        let scale = || shape.layer_scale.map(|start| LayerScale::new(start, width, device));
        let norm = || LayerNorm::with_epsilon(width, shape.norm_epsilon, device);
        Self {
            norm1: norm(),
            attn: Attention::new(qkv, proj, heads),
            ls1: scale(),
            norm2: norm(),
            mlp: Mlp { fc1, fc2, kind },
            ls2: scale(),
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
        let x = x + branch(scaled(self.ls1.as_ref(), attended)); // Eq. 2
        let mixed = self.mlp.forward(self.norm2.forward(x.clone()));
        x + branch(scaled(self.ls2.as_ref(), mixed)) // Eq. 3
    }

    /// How much the first token takes of every token, head by head, of the block's input.
    ///
    /// # Shapes
    /// `[N, T, D]` to `[N, H, 1, T]`.
    pub(super) fn first_token_weights(&self, x: Tensor<3>) -> Tensor<4> {
        self.attn.weights(self.norm1.forward(x), 1)
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = match self.kind {
            MlpKind::Gelu => self.fc1.forward_gelu(x),
            MlpKind::Swiglu => {
                let [gate, value]: [Tensor<3>; 2] =
                    self.fc1.forward(x).chunk(2, 2).try_into().expect("two halves");
                silu(gate) * value
            }
        };
        self.fc2.forward(hidden)
    }
}
