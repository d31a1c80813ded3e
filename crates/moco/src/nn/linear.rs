//! Fully connected layer.

use super::init;
use super::param::Param;
use burn::tensor::{Device, Tensor, module::linear};
use rand_chacha::ChaCha8Rng;

/// `y = x Wᵀ + b`, with torch's layout and default initialisation.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<2>,
    /// `[out]`.
    pub bias: Param<1>,
}

crate::module!(Linear { weight, bias });

impl Linear {
    /// Draws a layer from `rng`.
    pub fn new(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        Self {
            weight: Param::new(init::linear_uniform([outputs, inputs], inputs, rng, device)),
            bias: Param::new(init::linear_uniform([outputs], inputs, rng, device)),
        }
    }

    /// # Shapes
    /// `[N, in]` to `[N, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val().transpose(), Some(self.bias.val()))
    }
}
