//! Adam and AdamW with torch's semantics.
//!
//! Kingma & Ba 2015 (arXiv 1412.6980), Alg. 1; Loshchilov & Hutter 2019 (arXiv 1711.05101), Alg. 2.

use crate::nn::Buffer;
use burn::tensor::Tensor;

/// The numbers of one update.
pub struct Adam {
    /// Decay of the mean and of the mean square.
    pub betas: [f64; 2],
    /// Added to the root of the mean square; 1e-8 is torch's default.
    pub epsilon: f64,
    /// Weight decay applied to the parameter (AdamW) rather than added to the gradient (Adam).
    pub decoupled: bool,
    /// Updates of this parameter, this one included.
    pub steps: u64,
}

impl Adam {
    /// Moves a parameter; all tensors are flat and of equal length.
    pub fn step(
        &self,
        p: Tensor<1>,
        g: Tensor<1>,
        mean: &mut Buffer<1>,
        square: &mut Buffer<1>,
        lr: f64,
        weight_decay: f64,
    ) -> Tensor<1> {
        let [beta1, beta2] = self.betas;
        let (p, g) = match self.decoupled {
            true => (p * (1.0 - lr * weight_decay), g),
            false => (p.clone(), g + p * weight_decay),
        };
        mean.update(|m| m * beta1 + g.clone() * (1.0 - beta1));
        square.update(|v| v * beta2 + g.square() * (1.0 - beta2));
        let bias = |beta: f64| 1.0 - beta.powi(i32::try_from(self.steps).unwrap_or(i32::MAX));
        let denominator = square.val().sqrt() / bias(beta2).sqrt() + self.epsilon;
        p - mean.val() / denominator * (lr / bias(beta1))
    }
}
