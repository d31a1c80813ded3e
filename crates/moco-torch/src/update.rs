//! Updates of many tensors at once, in place, with torch's semantics.
//!
//! On a GPU a call costs a handful of kernel launches for a whole network, not some for each tensor.
//!
//! # Panics
//! Each, if the lists differ in length or LibTorch fails: tensors of other shapes, types or devices.

use crate::ffi::{
    check, moco_torch_adam, moco_torch_average, moco_torch_lars, moco_torch_sgd, pointers,
};
use tch::{Kind, Tensor};

/// `theta <- theta + (1 - m) (target - theta)`, for each pair.
pub fn average(theta: &[Tensor], target: &[Tensor], m: f64) {
    let [theta, target] = lists([theta, target]);
    // SAFETY: both lists hold `theta.len()` living tensors.
    let words =
        unsafe { moco_torch_average(theta.as_ptr(), target.as_ptr(), theta.len(), 1.0 - m) };
    // SAFETY: straight from the call.
    unsafe { check(words) }
}

/// The numbers of an SGD update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the old velocity that is kept, above 0: without any, torch keeps no velocity.
    pub momentum: f64,
    /// Weight decay, added to the gradient.
    pub weight_decay: f64,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

/// Parameters `p` by gradients `g`, with velocities `v`.
pub fn sgd(p: &[Tensor], g: &[Tensor], v: &[Tensor], numbers: Sgd) {
    let Sgd { lr, momentum, weight_decay, nesterov } = numbers;
    let n = p.len();
    let [p, g, v] = lists([p, g, v]);
    let (p, g, v) = (p.as_ptr(), g.as_ptr(), v.as_ptr());
    // SAFETY: the three lists hold `n` living tensors each.
    let words = unsafe { moco_torch_sgd(p, g, v, n, lr, momentum, weight_decay, nesterov) };
    // SAFETY: straight from the call.
    unsafe { check(words) }
}

/// The numbers of an Adam or AdamW update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean and of the mean square.
    pub betas: [f64; 2],
    /// Weight decay.
    pub weight_decay: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Whether the decay is applied to the parameter (AdamW) rather than added to the gradient.
    pub decoupled: bool,
}

/// Parameters `p` by gradients `g`, with running means `mean` and `square`, at the updates that `steps`
/// counts for each, this one included.
pub fn adam(
    p: &[Tensor],
    g: &[Tensor],
    [mean, square]: [&[Tensor]; 2],
    steps: &[u64],
    numbers: Adam,
) {
    let Adam { lr, betas: [beta1, beta2], weight_decay, epsilon, decoupled } = numbers;
    let n = p.len();
    assert_eq!(n, steps.len(), "a count for each tensor");
    let Some(first) = p.first() else { return };
    // Counts differ where a parameter rested; equal ones share a tensor.
    let mut counts: Vec<(u64, Tensor)> = Vec::new();
    for &step in steps {
        if !counts.iter().any(|(known, _)| *known == step) {
            let count = Tensor::full([], step as f64, (Kind::Float, first.device()));
            counts.push((step, count));
        }
    }
    let count = |step: &u64| {
        let known = counts.iter().find(|(known, _)| known == step);
        known.expect("every count was made").1.as_ptr().cast_mut()
    };
    let steps: Vec<_> = steps.iter().map(count).collect();
    let [p, g, m, s] = lists([p, g, mean, square]);
    let (p, g, m, s, t) = (p.as_ptr(), g.as_ptr(), m.as_ptr(), s.as_ptr(), steps.as_ptr());
    // SAFETY: the five lists hold `n` living tensors each; `counts` lives to the end of this function.
    let words = unsafe {
        moco_torch_adam(p, g, m, s, t, n, lr, beta1, beta2, weight_decay, epsilon, decoupled)
    };
    // SAFETY: straight from the call.
    unsafe { check(words) }
}

/// The numbers of a LARS update, and which of the published variants it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// Learning rate.
    pub lr: f64,
    /// Share of the old velocity that is kept.
    pub momentum: f64,
    /// How a gradient is adapted; `None` leaves it as it is, without weight decay.
    pub adapted: Option<Adapted>,
    /// Whether the velocity holds the learning rate.
    pub rate_inside: bool,
}

/// How LARS scales a gradient `g + decay p`: by `trust |p| / length`. Tensors of zeros are not scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapted {
    /// Weight decay.
    pub weight_decay: f64,
    /// Trust coefficient.
    pub trust: f64,
    /// `Some(epsilon)`: the length is `|g| + decay |p| + epsilon`, and what has no gradient stays;
    /// `None`: it is `|g + decay p|`.
    pub sum: Option<f64>,
    /// Whether the adapted rate is at most the learning rate.
    pub limited: bool,
}

/// Parameters `p` by gradients `g`, with velocities `v`. You et al. 2017 (arXiv 1708.03888).
pub fn lars(p: &[Tensor], g: &[Tensor], v: &[Tensor], numbers: Lars) {
    let Lars { lr, momentum, adapted, rate_inside } = numbers;
    let none = Adapted { weight_decay: 0.0, trust: 0.0, sum: None, limited: false };
    let Adapted { weight_decay, trust, sum, limited } = adapted.unwrap_or(none);
    let n = p.len();
    if n == 0 {
        return;
    }
    let [p, g, v] = lists([p, g, v]);
    let (p, g, v) = (p.as_ptr(), g.as_ptr(), v.as_ptr());
    let (epsilon, adapted) = (sum.unwrap_or(0.0), adapted.is_some());
    let sum = sum.is_some();
    // SAFETY: the three lists hold `n` living tensors each.
    let words = unsafe {
        moco_torch_lars(
            p,
            g,
            v,
            n,
            lr,
            momentum,
            weight_decay,
            trust,
            epsilon,
            adapted,
            sum,
            limited,
            rate_inside,
        )
    };
    // SAFETY: straight from the call.
    unsafe { check(words) }
}

/// The tensors of each list, which are all as long.
fn lists<const N: usize>(tensors: [&[Tensor]; N]) -> [Vec<crate::ffi::Borrowed>; N] {
    assert!(tensors.iter().all(|list| list.len() == tensors[0].len()), "lists of one length");
    tensors.map(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tensors of other sizes, f32.
    fn pair(f: fn(f32) -> f32) -> Vec<Tensor> {
        let of = |n: usize| Tensor::from_slice(&(0..n).map(|i| f(i as f32)).collect::<Vec<_>>());
        vec![of(7), of(40)]
    }

    /// Largest difference of two lists; values are near 1, so that a few roundings are 1e-6.
    fn assert_near(found: &[Tensor], expected: &[Tensor], what: &str) {
        for (a, b) in found.iter().zip(expected) {
            let off = f64::try_from((a - b).abs().max()).unwrap();
            assert!(off < 1e-6, "{what}: off by {off:.1e}");
        }
    }

    #[test]
    fn sgd_adam_and_the_average_are_their_definitions_over_three_updates() {
        for nesterov in [false, true] {
            let numbers = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov };
            let (p, v) = (pair(f32::sin), pair(|_| 0.0));
            let (mut q, mut w) = (pair(f32::sin), pair(|_| 0.0));
            for step in 1..4 {
                let g: Vec<_> = pair(f32::cos).iter().map(|g| g * step).collect();
                sgd(&p, &g, &v, numbers);
                for i in 0..2 {
                    let g = &g[i] + &q[i] * 0.01;
                    w[i] = &w[i] * 0.9 + &g;
                    let move_by = if nesterov { g + &w[i] * 0.9 } else { w[i].shallow_clone() };
                    q[i] = &q[i] - move_by * 0.1;
                }
            }
            assert_near(&p, &q, "parameters");
            assert_near(&v, &w, "velocities");
        }
        for decoupled in [false, true] {
            let betas = [0.9, 0.95];
            let numbers = Adam { lr: 0.02, betas, weight_decay: 0.1, epsilon: 1e-8, decoupled };
            let [p, m, s] = [pair(f32::sin), pair(|_| 0.0), pair(|_| 0.0)];
            let [mut q, mut a, mut b] = [pair(f32::sin), pair(|_| 0.0), pair(|_| 0.0)];
            for step in 1..4 {
                let g: Vec<_> = pair(f32::cos).iter().map(|g| g * step).collect();
                // The second tensor rested once.
                let steps = [step as u64, step as u64 + 1];
                adam(&p, &g, [&m, &s], &steps, numbers);
                for i in 0..2 {
                    let g = match decoupled {
                        true => g[i].shallow_clone(),
                        false => &g[i] + &q[i] * 0.1,
                    };
                    let decay = if decoupled { 1.0 - 0.02 * 0.1 } else { 1.0 };
                    a[i] = &a[i] * betas[0] + &g * (1.0 - betas[0]);
                    b[i] = &b[i] * betas[1] + g.square() * (1.0 - betas[1]);
                    let bias = |beta: f64| 1.0 - beta.powi(steps[i] as i32);
                    let root = b[i].sqrt() / bias(betas[1]).sqrt() + 1e-8;
                    q[i] = &q[i] * decay - &a[i] / root * (0.02 / bias(betas[0]));
                }
            }
            assert_near(&p, &q, "parameters");
            assert_near(&m, &a, "means");
            assert_near(&s, &b, "mean squares");
        }
        let (p, target) = (pair(f32::sin), pair(f32::cos));
        average(&p, &target, 0.9);
        let mixed = |(p, t): (&Tensor, &Tensor)| p * 0.9 + t * (1.0 - 0.9);
        let expected: Vec<_> = pair(f32::sin).iter().zip(&target).map(mixed).collect();
        assert_near(&p, &expected, "average");
    }
}
