//! Layer-wise adaptive rates: You et al. 2017 (arXiv 1708.03888).
//!
//! `q = trust |p| / |g + wd p|` scales each tensor's gradient by its own weights. The published
//! implementations differ in where the learning rate and the weight decay enter, see
//! [`LarsFlavor`].

use crate::config::LarsFlavor;
use crate::nn::Buffer;
use burn::tensor::Tensor;

/// Keeps LARC's denominator from 0, as in apex.
const LARC_EPSILON: f64 = 1e-8;

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
        let scaled = match weight_decay {
            Some(weight_decay) => self.adapted(p.clone(), g, weight_decay),
            None => g,
        };
        match self.flavor {
            LarsFlavor::Inside => {
                velocity.update(|v| v * self.momentum + scaled * lr);
                p - velocity.val()
            }
            LarsFlavor::Outside | LarsFlavor::Larc => {
                velocity.update(|v| v * self.momentum + scaled);
                p - velocity.val() * lr
            }
        }
    }
}

impl Lars {
    /// The gradient with weight decay, scaled to the length of the weights. Zero weights leave it
    /// as it is.
    fn adapted(&self, p: Tensor<1>, g: Tensor<1>, weight_decay: f64) -> Tensor<1> {
        let decayed = g.clone() + p.clone() * weight_decay;
        let weight = length(p);
        let (denominator, still) = match self.flavor {
            // LARC adds the two lengths instead of taking that of the sum, and leaves alone what
            // has no gradient.
            LarsFlavor::Larc => {
                let g = length(g);
                (g.clone() + weight.clone() * weight_decay + LARC_EPSILON, (g.equal_elem(0.0), 0.0))
            }
            LarsFlavor::Outside | LarsFlavor::Inside => {
                let update = length(decayed.clone());
                (update.clone(), (update.equal_elem(0.0), 1.0))
            }
        };
        let ratio = (weight.clone() * self.trust / denominator)
            .mask_fill(still.0, still.1)
            .mask_fill(weight.equal_elem(0.0), 1.0);
        decayed * ratio
    }
}

/// Euclidean length, `[1]`.
fn length(x: Tensor<1>) -> Tensor<1> {
    x.square().sum().sqrt()
}
