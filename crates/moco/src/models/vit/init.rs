//! Initial weights of Vision Transformers, as the methods' papers draw them.

use super::config::VitInit;
use crate::nn::{Linear, Param, init};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Standard deviation of tokens, of learned positions, and of [`VitInit::Normal`]. The references
/// cut this normal off at ±2, a hundred deviations away, which never happens.
const STD: f64 = 0.02;
/// Standard deviation of MoCo v3's class token.
const TINY_STD: f64 = 1e-6;

impl VitInit {
    /// A fully connected layer with bias 0.
    pub(crate) fn linear(
        self,
        [inputs, outputs]: [usize; 2],
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Linear {
        let weight = self.matrix([outputs, inputs], outputs, rng, device);
        Linear {
            weight: Param::new(weight),
            bias: Some(Param::new(Tensor::zeros([outputs], device))),
        }
    }

    /// Projection to queries, keys and values.
    pub(super) fn qkv(
        self,
        width: usize,
        bias: bool,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Linear {
        let fan_out = if self == Self::MocoV3 { width } else { 3 * width };
        let weight = self.matrix([3 * width, width], fan_out, rng, device);
        let bias = bias.then(|| Param::new(Tensor::zeros([3 * width], device)));
        Linear { weight: Param::new(weight), bias }
    }

    fn matrix(
        self,
        shape: [usize; 2],
        fan_out: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Tensor<2> {
        match self {
            Self::MocoV3 | Self::Mae => {
                init::xavier_uniform(shape, [shape[1], fan_out], rng, device)
            }
            Self::Normal => init::normal(shape, STD, rng, device),
        }
    }

    /// Weight and bias of the patch projection, `[D, C, p, p]` and `[D]`.
    pub(super) fn patch_projection(
        self,
        shape: [usize; 4],
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> (Tensor<4>, Tensor<1>) {
        let [outputs, channels, p, _] = shape;
        let inputs = channels * p * p;
        let weight = match self {
            Self::MocoV3 | Self::Mae => init::xavier_uniform(shape, [inputs, outputs], rng, device),
            Self::Normal => init::linear_uniform(shape, inputs, rng, device),
        };
        let bias = match self {
            Self::MocoV3 => Tensor::zeros([outputs], device),
            Self::Normal | Self::Mae => init::linear_uniform([outputs], inputs, rng, device),
        };
        (weight, bias)
    }

    /// The class token, `[1, 1, D]`.
    pub(super) fn class_token(
        self,
        width: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Tensor<3> {
        match self {
            Self::MocoV3 => init::normal([1, 1, width], TINY_STD, rng, device),
            Self::Normal | Self::Mae => tokens([1, 1, width], rng, device),
        }
    }
}

/// Learned positions, and the masked autoencoder's mask token.
pub(crate) fn tokens(shape: [usize; 3], rng: &mut ChaCha8Rng, device: &Device) -> Tensor<3> {
    init::normal(shape, STD, rng, device)
}
