//! AdamW in one pass over parameter, gradient and both moments.

use super::CHUNK;
use crate::Isa;
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{Disjoint, for_each};

/// Hyper-parameters of [`adamw`]. In f64: `1 - beta2` in f32 would be off by 1e-5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment, after its bias is corrected.
    pub eps: f64,
    /// Decoupled: the parameter shrinks by `lr * weight_decay`.
    pub weight_decay: f64,
}

/// Step `step` (from 1) of AdamW with PyTorch's semantics (Loshchilov and Hutter 2019, arXiv
/// 1711.05101, algorithm 2; the decay is multiplied with the rate):
///
/// ```text
/// p <- (1 - lr weight_decay) p
/// m <- beta1 m + (1 - beta1) g                  v <- beta2 v + (1 - beta2) g²
/// p <- p - lr m / (1 - beta1^step) / (√v / √(1 - beta2^step) + eps)
/// ```
/// Both moments begin as zeros.
///
/// # Panics
/// When the slices differ in length, or `step` is 0.
pub fn adamw(
    isa: Isa,
    param: &mut [f32],
    grad: &[f32],
    [mean, square]: [&mut [f32]; 2],
    step: u64,
    config: AdamWConfig,
) {
    let len = param.len();
    let pair_up = grad.len() == len && mean.len() == len && square.len() == len;
    assert!(pair_up, "parameter, gradient and moments pair up");
    assert!(step > 0, "steps count from 1");
    let factors = Factors::new(step, config);
    let [param, mean, square] = [param, mean, square].map(Disjoint::new);
    for_each(len.div_ceil(CHUNK), |i| {
        let range = i * CHUNK..len.min((i + 1) * CHUNK);
        let grad = &grad[range.clone()];
        // SAFETY: chunk `i` of all three is touched by job `i` alone.
        let [param, mean, square] =
            unsafe { [&param, &mean, &square].map(|part| part.slice(range.clone())) };
        isa.run(AdamWChunk { param, grad, mean, square, factors });
    });
}

/// What an element's update multiplies and adds.
#[derive(Clone, Copy)]
struct Factors {
    keep: f32,
    beta2: f32,
    take1: f32,
    take2: f32,
    root: f32,
    eps: f32,
    rate: f32,
}

impl Factors {
    fn new(step: u64, config: AdamWConfig) -> Factors {
        let AdamWConfig { lr, beta1, beta2, eps, weight_decay } = config;
        let bias = |beta: f64| 1.0 - beta.powf(step as f64);
        Factors {
            keep: (1.0 - lr * weight_decay) as f32,
            beta2: beta2 as f32,
            take1: (1.0 - beta1) as f32,
            take2: (1.0 - beta2) as f32,
            root: (1.0 / bias(beta2).sqrt()) as f32,
            eps: eps as f32,
            rate: (lr / bias(beta1)) as f32,
        }
    }
}

struct AdamWChunk<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
    factors: Factors,
}

impl Kernel for AdamWChunk<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let AdamWChunk { param, grad, mean, square, factors } = self;
        let [keep, beta2, take1, take2] = [
            s.splat(factors.keep),
            s.splat(factors.beta2),
            s.splat(factors.take1),
            s.splat(factors.take2),
        ];
        let [root, eps, rate] =
            [s.splat(factors.root), s.splat(factors.eps), s.splat(factors.rate)];
        let len = param.len().min(grad.len()).min(mean.len()).min(square.len());
        for at in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - at);
            // SAFETY: `at + lanes <= len`, the shortest of the four.
            unsafe {
                let g = load_n(s, grad.as_ptr().add(at), lanes);
                let [p_at, m_at, v_at] = [
                    param.as_mut_ptr().add(at),
                    mean.as_mut_ptr().add(at),
                    square.as_mut_ptr().add(at),
                ];
                let old = load_n(s, m_at, lanes);
                let m = s.fma(take1, s.sub(g, old), old);
                let v = s.fma(s.mul(take2, g), g, s.mul(beta2, load_n(s, v_at, lanes)));
                let ratio = s.div(m, s.fma(s.sqrt(v), root, eps));
                let p = s.fnma(rate, ratio, s.mul(keep, load_n(s, p_at, lanes)));
                store_n(s, m_at, m, lanes);
                store_n(s, v_at, v, lanes);
                store_n(s, p_at, p, lanes);
            }
        }
    }
}
