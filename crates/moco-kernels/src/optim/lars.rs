//! LARS: SGD whose rate follows, layer by layer, the ratio of the norms of weights and gradients.

use super::CHUNK;
use super::update::SgdChunk;
use crate::Isa;
use crate::simd::{Kernel, Simd, load_n, sum_lanes};
use crate::threads::{Disjoint, for_each, for_each_chunk};

/// Hyper-parameters of [`lars`].
///
/// The flavours in use, all of You, Gitman and Ginsburg 2017 (arXiv 1708.03888):
///
/// | | `lr_in_buffer` | `trust.norm` | coefficient | `clip` |
/// |---|---|---|---|---|
/// | SimCLR (TensorFlow) | yes | `Decayed` | 0.001 | no |
/// | MoCo v3, MAE, BYOL | no | `Decayed` | 0.001 | no |
/// | apex LARC (SwAV, SimSiam's linear probe) | no | `Sum` | 0.001 | no |
/// | solo-learn | no | `Sum` | 0.02 | yes |
///
/// Biases and norms: `trust: None` and `weight_decay: 0.0`, except in apex LARC, which adapts all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LarsConfig {
    /// Learning rate.
    pub lr: f32,
    /// Momentum, 0 for none.
    pub momentum: f32,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// How the rate is adapted; without it this is SGD.
    pub trust: Option<Trust>,
    /// Whether the velocity contains the rate of its time (a schedule then acts late), or the
    /// present rate multiplies the whole velocity.
    pub lr_in_buffer: bool,
}

/// How a parameter's rate is adapted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trust {
    /// What the ratio of norms is multiplied with (`eeta`).
    pub coefficient: f32,
    /// Added to the gradient's norm.
    pub eps: f32,
    /// What counts as the gradient's norm.
    pub norm: TrustNorm,
    /// Whether the adapted rate is at most `lr`: the ratio then is `min(ratio / lr, 1)`.
    pub clip: bool,
}

/// The denominator of the trust ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustNorm {
    /// `‖g + weight_decay p‖`. Where a norm is zero the ratio is 1.
    Decayed,
    /// `‖g‖ + weight_decay ‖p‖`. Where a norm is zero the gradient is neither scaled nor decayed.
    Sum,
}

/// One step of LARS for one parameter: with the trust ratio `r` and `d = r (g + weight_decay p)`,
///
/// ```text
/// v <- momentum v + d,     p <- p - lr v          (`lr_in_buffer`: v <- momentum v + lr d, p <- p - v)
/// ```
/// Norms are sums of 1024 squares in f32, joined in f64 and in order.
///
/// # Panics
/// When the slices differ in length.
pub fn lars(isa: Isa, param: &mut [f32], grad: &[f32], velocity: &mut [f32], config: LarsConfig) {
    let len = param.len();
    assert!(grad.len() == len && velocity.len() == len, "parameter, gradient and velocity pair up");
    let (ratio, decay) = match config.trust {
        None => (1.0, config.weight_decay),
        Some(trust) => adapt(isa, param, grad, trust, config),
    };
    let (take, rate) = match config.lr_in_buffer {
        true => (config.lr * ratio, 1.0),
        false => (ratio, config.lr),
    };
    let (param, velocity) = (Disjoint::new(param), Disjoint::new(velocity));
    for_each(len.div_ceil(CHUNK), |i| {
        let range = i * CHUNK..len.min((i + 1) * CHUNK);
        let grad = &grad[range.clone()];
        // SAFETY: chunk `i` of both is touched by job `i` alone.
        let (param, velocity) = unsafe { (param.slice(range.clone()), velocity.slice(range)) };
        let momentum = config.momentum;
        isa.run(SgdChunk { param, grad, velocity, decay, take, momentum, rate });
    });
}

/// The trust ratio, and the weight decay that goes with it.
fn adapt(isa: Isa, param: &[f32], grad: &[f32], trust: Trust, config: LarsConfig) -> (f32, f32) {
    let decay = f64::from(config.weight_decay);
    let decayed = trust.norm == TrustNorm::Decayed;
    let [weights, gradient] =
        norms(isa, param, grad, if decayed { config.weight_decay } else { 0.0 });
    if weights == 0.0 || gradient == 0.0 {
        return (1.0, if decayed { config.weight_decay } else { 0.0 });
    }
    let sum = if decayed { gradient } else { gradient + decay * weights };
    let ratio = f64::from(trust.coefficient) * weights / (sum + f64::from(trust.eps));
    let clipped = if trust.clip { (ratio / f64::from(config.lr)).min(1.0) } else { ratio };
    (clipped as f32, config.weight_decay)
}

/// `‖p‖` and `‖g + decay p‖`, in one pass.
fn norms(isa: Isa, param: &[f32], grad: &[f32], decay: f32) -> [f64; 2] {
    let mut partial = vec![[0.0f64; 2]; param.len().div_ceil(CHUNK)];
    for_each_chunk(&mut partial, 1, |i, sums| {
        let range = i * CHUNK..param.len().min((i + 1) * CHUNK);
        sums[0] = isa.run(Squares { param: &param[range.clone()], grad: &grad[range], decay });
    });
    [0, 1].map(|which| partial.iter().map(|sums| sums[which]).sum::<f64>().sqrt())
}

struct Squares<'a> {
    param: &'a [f32],
    grad: &'a [f32],
    decay: f32,
}

/// Squares that are summed in f32.
const BLOCK: usize = 1024;

impl Kernel for Squares<'_> {
    type Out = [f64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; 2] {
        let mut totals = [0.0; 2];
        let decay = s.splat(self.decay);
        for (param, grad) in self.param.chunks(BLOCK).zip(self.grad.chunks(BLOCK)) {
            let len = param.len().min(grad.len());
            let mut sums = [s.splat(0.0); 2];
            for at in (0..len).step_by(S::LANES) {
                let lanes = S::LANES.min(len - at);
                // SAFETY: `at + lanes <= len`, the shorter of both.
                unsafe {
                    let p = load_n(s, param.as_ptr().add(at), lanes);
                    let g = s.fma(decay, p, load_n(s, grad.as_ptr().add(at), lanes));
                    sums = [s.fma(p, p, sums[0]), s.fma(g, g, sums[1])];
                }
            }
            totals[0] += f64::from(sum_lanes(s, sums[0]));
            totals[1] += f64::from(sum_lanes(s, sums[1]));
        }
        totals
    }
}
