//! An encoder with a predictor behind it.

use super::{Encoder, Mlp, MlpSpec, NetworkSpec};
use crate::nn::Mode;
use burn::tensor::{Device, Tensor};

/// The trained network of methods that predict one view's projection from the other's: BYOL calls
/// it the online network.
#[derive(Debug)]
pub struct Online {
    /// Images to projections.
    pub encoder: Encoder,
    /// Projections to predictions of as many numbers.
    pub predictor: Mlp,
}

crate::module!(Online { encoder, predictor });

impl Online {
    /// Puts a predictor behind `encoder`, drawn from the second stream of the same specification.
    pub fn new(
        encoder: Encoder,
        predictor: &MlpSpec,
        network: &NetworkSpec,
        device: &Device,
    ) -> Self {
        let width = encoder.head.outputs();
        let predictor = Mlp::new(width, predictor, &mut network.weights(1), device);
        Self { encoder, predictor }
    }

    /// Projection and prediction of a batch, neither normalised.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to two of `[N, D]`.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> [Tensor<2>; 2] {
        let z = self.encoder.forward(x, mode);
        let p = self.predictor.forward(z.clone(), mode);
        [z, p]
    }
}
