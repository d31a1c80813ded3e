//! Layer-wise adaptive rates: You et al. 2017 (arXiv 1708.03888).
//!
//! `q = trust |p| / |g + wd p|` scales each tensor's gradient by its own weights. The published
//! implementations differ in where the learning rate and the weight decay enter, see
//! [`LarsFlavor`].

use crate::config::LarsFlavor;
use crate::nn::{Buffer, TensorLeaf, update};
use burn::tensor::Tensor;
use moco_kernels::optim::{LarsConfig, Trust, TrustNorm};

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
        match update::isa(&p.device()) {
            Some(isa) => {
                let config = self.kernel(lr, weight_decay);
                let (p, v) = update::lars_step(p, g, velocity.take_flat(), config, isa);
                velocity.set_flat(v);
                p
            }
            None => self.compose(p, g, velocity, lr, weight_decay),
        }
    }

    /// These settings in the form that the kernel takes.
    fn kernel(&self, lr: f64, weight_decay: Option<f64>) -> LarsConfig {
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

    fn compose(
        &self,
        p: Tensor<1>,
        g: Tensor<1>,
        velocity: &mut Buffer<1>,
        lr: f64,
        weight_decay: Option<f64>,
    ) -> Tensor<1> {
        let scaled = match weight_decay {
            Some(weight_decay) => self.adapted(p.clone(), g, lr, weight_decay),
            None => g,
        };
        match self.flavor {
            LarsFlavor::Inside => {
                velocity.update(|v| v * self.momentum + scaled * lr);
                p - velocity.val()
            }
            LarsFlavor::Outside | LarsFlavor::Larc | LarsFlavor::SoloLearn => {
                velocity.update(|v| v * self.momentum + scaled);
                p - velocity.val() * lr
            }
        }
    }

    /// The gradient with weight decay, scaled to the length of the weights. Zero weights leave it
    /// as it is.
    fn adapted(&self, p: Tensor<1>, g: Tensor<1>, lr: f64, weight_decay: f64) -> Tensor<1> {
        let decayed = g.clone() + p.clone() * weight_decay;
        let weight = length(p);
        let (denominator, still) = match self.flavor {
            // These add the two lengths instead of taking that of the sum, and leave alone what
            // has no gradient.
            LarsFlavor::Larc | LarsFlavor::SoloLearn => {
                let g = length(g);
                (g.clone() + weight.clone() * weight_decay + SUM_EPSILON, (g.equal_elem(0.0), 0.0))
            }
            LarsFlavor::Outside | LarsFlavor::Inside => {
                let update = length(decayed.clone());
                (update.clone(), (update.equal_elem(0.0), 1.0))
            }
        };
        let ratio = weight.clone() * self.trust / denominator;
        let ratio = if self.limited() { (ratio / lr).clamp_max(1.0) } else { ratio };
        decayed * ratio.mask_fill(still.0, still.1).mask_fill(weight.equal_elem(0.0), 1.0)
    }
}

/// Euclidean length, `[1]`.
fn length(x: Tensor<1>) -> Tensor<1> {
    x.square().sum().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::device::Device;

    /// Three steps of every flavour, also where weights or gradients are zero; a few roundings of
    /// values near 1. solo-learn's limit acts at the low rate, and at 0, where a warm-up starts.
    #[test]
    fn the_kernel_equals_the_composition() {
        let tensor = |f: fn(f32) -> f32| {
            let values: Vec<f32> = (0..37).map(|i| f(i as f32)).collect();
            Tensor::<1>::from_data(values.as_slice(), &Device::flex())
        };
        let zeros = tensor(|_| 0.0);
        let pairs = [
            (tensor(f32::sin), tensor(f32::cos)),
            (zeros.clone(), tensor(f32::cos)),
            (tensor(f32::sin), zeros.clone()),
        ];
        for (flavor, rate) in [
            (LarsFlavor::Inside, 0.3),
            (LarsFlavor::Outside, 0.3),
            (LarsFlavor::Larc, 0.3),
            (LarsFlavor::SoloLearn, 0.3),
            (LarsFlavor::SoloLearn, 0.01),
            (LarsFlavor::SoloLearn, 0.0),
        ] {
            let lars = Lars { momentum: 0.9, trust: 0.02, flavor };
            for (p, g) in &pairs {
                let (mut fused, mut composed) = (p.clone(), p.clone());
                let (mut v, mut w) = (Buffer::new(zeros.clone()), Buffer::new(zeros.clone()));
                for step in 0..3 {
                    fused = lars.step(fused, g.clone(), &mut v, rate, Some(0.01));
                    composed = lars.compose(composed, g.clone(), &mut w, rate, Some(0.01));
                    let found = [to_host(fused.clone()), to_host(v.val())].concat();
                    let expected = [to_host(composed.clone()), to_host(w.val())].concat();
                    for (a, b) in found.iter().zip(&expected) {
                        assert!((a - b).abs() < 2e-6, "{flavor:?} at {rate}, step {step}: {a} {b}");
                    }
                }
            }
        }
    }
}
