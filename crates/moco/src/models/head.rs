//! Projection heads between backbone and loss.

use crate::config::HeadKind;
use crate::nn::Linear;
use burn::tensor::{Device, Tensor, activation::relu};
use rand_chacha::ChaCha8Rng;

/// MoCo's head: linear in v1 (arXiv 1911.05722, Sec. 3.3), with a hidden layer in v2
/// (arXiv 2003.04297, Sec. 3). No BatchNorm, biases throughout.
#[derive(Debug)]
pub struct ProjectionHead {
    hidden: Option<Linear>,
    output: Linear,
}

crate::module!(ProjectionHead { hidden, output });

impl ProjectionHead {
    /// Draws a head from `rng`. The hidden layer is as wide as its input.
    pub fn new(
        kind: HeadKind,
        inputs: usize,
        outputs: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let hidden = match kind {
            HeadKind::Linear => None,
            HeadKind::Mlp => Some(Linear::new(inputs, inputs, rng, device)),
        };
        Self { hidden, output: Linear::new(inputs, outputs, rng, device) }
    }

    /// # Shapes
    /// `[N, in]` to `[N, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.hidden {
            Some(hidden) => relu(hidden.forward(x)),
            None => x,
        };
        self.output.forward(x)
    }
}
