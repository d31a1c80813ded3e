//! Adam and AdamW with torch's semantics.
//!
//! Kingma & Ba 2015 (arXiv 1412.6980), Alg. 1; Loshchilov & Hutter 2019 (arXiv 1711.05101), Alg. 2.

use crate::nn::{Buffer, TensorLeaf};
use crate::ops::update::{AdamWConfig, adamw_step};
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
        let (g, weight_decay) = match self.decoupled {
            true => (g, weight_decay),
            false => (g + p.clone() * weight_decay, 0.0),
        };
        let config = AdamWConfig { lr, beta1, beta2, eps: self.epsilon, weight_decay };
        let moments = [mean.take_flat(), square.take_flat()];
        let (p, [first, second]) = adamw_step(p, g, moments, self.steps, config);
        mean.set_flat(first);
        square.set_flat(second);
        p
    }
}
