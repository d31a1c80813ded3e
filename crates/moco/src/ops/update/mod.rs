//! Updates of flat parameters, all on the plain device. In place when the caller hands over the only
//! handle.

mod cpu;
mod stock;
#[cfg(test)]
mod tests;

use super::Engine;
use burn::tensor::Tensor;
pub use moco_kernels::optim::{AdamWConfig, LarsConfig, Trust, TrustNorm};

/// `theta <- m theta + (1 - m) target`, of equal lengths.
pub fn average(theta: Tensor<1>, target: Tensor<1>, m: f64) -> Tensor<1> {
    match Engine::of(&theta.device()) {
        Engine::Kernels(isa) => cpu::average(theta, target, m, isa),
        Engine::Stock => stock::average(theta, target, m),
    }
}

/// One step of SGD, torch's semantics: `v <- mu v + g + wd p`, `p <- p - lr v`, for `rates` of
/// `[lr, mu, wd]`; returns `p` and `v`. All of one length.
pub fn sgd_step(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    rates: [f64; 3],
) -> (Tensor<1>, Tensor<1>) {
    match Engine::of(&p.device()) {
        Engine::Kernels(isa) => cpu::sgd(p, g, v, rates, isa),
        Engine::Stock => stock::sgd(p, g, v, rates),
    }
}

/// Update `steps` (from 1) of AdamW, torch's semantics: returns `p` and its two moments, the running
/// means of gradients and of their squares. All of one length.
pub fn adamw_step(
    p: Tensor<1>,
    g: Tensor<1>,
    moments: [Tensor<1>; 2],
    steps: u64,
    config: AdamWConfig,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    match Engine::of(&p.device()) {
        Engine::Kernels(isa) => cpu::adamw(p, g, moments, steps, config, isa),
        Engine::Stock => stock::adamw(p, g, moments, steps, config),
    }
}

/// One step of LARS: the gradient with weight decay is scaled by the length of the weights over that
/// of the gradient as `config.trust` says, then as SGD; returns `p` and `v`. All of one length.
pub fn lars_step(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    config: LarsConfig,
) -> (Tensor<1>, Tensor<1>) {
    match Engine::of(&p.device()) {
        Engine::Kernels(isa) => cpu::lars(p, g, v, config, isa),
        Engine::Stock => stock::lars(p, g, v, config),
    }
}
