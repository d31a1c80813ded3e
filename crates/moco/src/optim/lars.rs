//! Layer-wise adaptive rates: You et al. 2017 (arXiv 1708.03888).
//!
//! `q = trust |p| / |g + wd p|` scales each tensor's gradient by its own weights. The published
//! implementations differ in where the learning rate and the weight decay enter, see
//! [`LarsFlavor`].

use crate::config::LarsFlavor;
use crate::nn::{Buffer, TensorLeaf};
use crate::ops::update::{LarsConfig, Trust, TrustNorm, lars_step};
use burn::tensor::Tensor;

/// Keeps the denominator of two lengths from 0, as in apex and solo-learn.
const SUM_EPSILON: f64 = 1e-8;

/// The settings of the rule.
pub struct Lars {
    /// Share of the old velocity that is kept.
    pub momentum: f64,
    /// Trust coefficient, eta.
    pub trust: f64,
    /// Which of the published variants.
    pub flavor: LarsFlavor,
}

impl Lars {
    /// Moves a parameter; all tensors are flat and of equal length. Without a weight decay, not
    /// even of 0, its gradient is not adapted either.
    pub fn step(
        &self,
        p: Tensor<1>,
        g: Tensor<1>,
        velocity: &mut Buffer<1>,
        lr: f64,
        weight_decay: Option<f64>,
    ) -> Tensor<1> {
        let config = self.config(lr, weight_decay);
        let (p, v) = lars_step(p, g, velocity.take_flat(), config);
        velocity.set_flat(v);
        p
    }

    /// These settings in the form that the operation takes.
    pub(super) fn config(&self, lr: f64, weight_decay: Option<f64>) -> LarsConfig {
        let (norm, eps) = match self.flavor {
            LarsFlavor::Larc | LarsFlavor::SoloLearn => (TrustNorm::Sum, SUM_EPSILON as f32),
            LarsFlavor::Outside | LarsFlavor::Inside => (TrustNorm::Decayed, 0.0),
        };
        LarsConfig {
            lr: lr as f32,
            momentum: self.momentum as f32,
            weight_decay: weight_decay.unwrap_or(0.0) as f32,
            trust: weight_decay.map(|_| Trust {
                coefficient: self.trust as f32,
                eps,
                norm,
                clip: self.limited(),
            }),
            lr_in_buffer: self.flavor == LarsFlavor::Inside,
        }
    }

    /// Whether the adapted rate is at most the global one.
    fn limited(&self) -> bool {
        self.flavor == LarsFlavor::SoloLearn
    }
}
