//! Updates of flat parameters, all on the plain device. In place when the caller hands over the only
//! handle.

mod cpu;
mod stock;
#[cfg(test)]
mod tests;
#[cfg(feature = "libtorch")]
mod torch;

use super::Engine;
#[cfg(feature = "libtorch")]
use burn::tensor::Device;
use burn::tensor::{IndexingUpdateOp, Tensor};
pub use moco_kernels::optim::{AdamWConfig, LarsConfig, Trust, TrustNorm};

/// Whether the engine of a device moves many parameters at once, see [`step_all`].
#[cfg(feature = "libtorch")]
pub(crate) fn at_once(device: &Device) -> bool {
    Engine::of(device) == Engine::LibTorch
}

/// A parameter on its way, its gradient and what its rule remembers, all flat and of one length.
#[cfg(feature = "libtorch")]
pub(crate) struct Moving {
    /// The parameter.
    pub p: Tensor<1>,
    /// Its gradient.
    pub g: Tensor<1>,
    /// Its velocity, or the running mean of its gradients.
    pub first: Tensor<1>,
    /// The running mean of their squares.
    pub second: Option<Tensor<1>>,
    /// Its updates, this one included.
    pub steps: u64,
}

/// A rule with its numbers.
#[cfg(feature = "libtorch")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// As [`sgd_step`], with Nesterov's momentum or without.
    Sgd {
        /// Learning rate, momentum, weight decay.
        rates: [f64; 3],
        /// Whether the step looks ahead along the velocity.
        nesterov: bool,
    },
    /// As [`adamw_step`], or Adam, whose weight decay is added to the gradient.
    Adam {
        /// The numbers.
        config: AdamWConfig,
        /// Whether it is AdamW.
        decoupled: bool,
    },
    /// As [`lars_step`].
    Lars(LarsConfig),
}

/// One step of all parameters, of an engine that [`at_once`] names.
#[cfg(feature = "libtorch")]
pub(crate) fn step_all(parameters: Vec<Moving>, rule: Rule) -> Vec<Moving> {
    torch::step_all(parameters, rule)
}

/// Divides gradients by `factor`; whether they are finite then.
pub(crate) fn divide<'a>(gradients: impl Iterator<Item = &'a mut Tensor<1>>, factor: f64) -> bool {
    let gradients: Vec<&mut Tensor<1>> = gradients.collect();
    #[cfg(feature = "libtorch")]
    if gradients.first().is_some_and(|gradient| at_once(&gradient.device())) {
        return torch::divide(gradients.into_iter(), factor);
    }
    let mut finite = true;
    for gradient in gradients {
        *gradient = gradient.clone() / factor;
        // What is not finite stays so in a sum; one that overflows is too large as well.
        finite &= f64::from(gradient.clone().sum().into_scalar::<f32>()).is_finite();
    }
    finite
}

/// [`average`] of each pair.
pub fn average_all(pairs: Vec<(Tensor<1>, Tensor<1>)>, m: f64) -> Vec<Tensor<1>> {
    #[cfg(feature = "libtorch")]
    if pairs.first().is_some_and(|(theta, _)| at_once(&theta.device())) {
        return torch::average_all(pairs, m);
    }
    pairs.into_iter().map(|(theta, target)| average(theta, target, m)).collect()
}

/// `rows` `[R, D]` with those at `places`, all different, replaced by `new` `[places, D]`.
pub fn replace_rows(rows: Tensor<2>, places: &[i32], new: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "libtorch")]
    if at_once(&rows.device()) {
        return torch::replace_rows(rows, places, new);
    }
    let places = Tensor::from_data(places, &rows.device());
    rows.select_assign(0, places, new, IndexingUpdateOp::Assign)
}

/// `theta <- m theta + (1 - m) target`, of equal lengths.
pub fn average(theta: Tensor<1>, target: Tensor<1>, m: f64) -> Tensor<1> {
    match Engine::of(&theta.device()) {
        Engine::Kernels(isa) => cpu::average(theta, target, m, isa),
        _ => stock::average(theta, target, m),
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
        _ => stock::sgd(p, g, v, rates),
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
        _ => stock::adamw(p, g, moments, steps, config),
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
        _ => stock::lars(p, g, v, config),
    }
}
