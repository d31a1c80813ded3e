//! Fully connected layer.

use super::init;
use super::param::Param;
use crate::ops::gelu::Gelu;
use crate::ops::linear::linear_gelu;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// `y = x Wᵀ + b` over the last dimension, with torch's layout and default initialisation.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<2>,
    /// `[out]`, or none.
    pub bias: Option<Param<1>>,
}

crate::module!(Linear { weight, bias });

impl Linear {
    /// Draws a layer from `rng`.
    pub fn new(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let weights = Self::without_bias(inputs, outputs, rng, device);
        let bias = init::linear_uniform([outputs], inputs, rng, device);
        Self { bias: Some(Param::new(bias)), ..weights }
    }

    /// Draws a layer without bias from `rng`.
    pub fn without_bias(
        inputs: usize,
        outputs: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let weight = init::linear_uniform([outputs, inputs], inputs, rng, device);
        Self { weight: Param::new(weight), bias: None }
    }

    /// # Shapes
    /// `[..., in]` to `[..., out]`: rows `[N, in]`, tokens `[N, T, in]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.apply(x, None)
    }

    /// The layer and the exact GELU after it.
    ///
    /// # Shapes
    /// `[..., in]` to `[..., out]`.
    pub fn forward_gelu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.apply(x, Some(Gelu::Erf))
    }

    fn apply<const D: usize>(&self, x: Tensor<D>, gelu: Option<Gelu>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        linear_gelu(x, self.weight.val(), bias, gelu, self.weight.frozen())
    }
}
