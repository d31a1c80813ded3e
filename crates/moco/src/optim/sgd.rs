//! Stochastic gradient descent with torch's semantics.

use crate::nn::{Buffer, TensorLeaf};
use crate::ops::update::sgd_step;
use burn::tensor::Tensor;

/// `v <- mu v + (g + wd p)`, `p <- p - lr v`, for `rates` of `[lr, mu, wd]`.
///
/// The learning rate stays outside the buffer, so a changing rate does not rescale past
/// gradients. No dampening. The first step, from a zero buffer, is plain descent.
pub fn step(p: Tensor<1>, g: Tensor<1>, velocity: &mut Buffer<1>, rates: [f64; 3]) -> Tensor<1> {
    let (p, v) = sgd_step(p, g, velocity.take_flat(), rates);
    velocity.set_flat(v);
    p
}

/// With Nesterov's momentum: `v` as in [`step`], `p <- p - lr (g + wd p + mu v)`.
pub fn nesterov(
    p: Tensor<1>,
    g: Tensor<1>,
    velocity: &mut Buffer<1>,
    [lr, momentum, weight_decay]: [f64; 3],
) -> Tensor<1> {
    let g = g + p.clone() * weight_decay;
    velocity.update(|v| v * momentum + g.clone());
    p - (g + velocity.val() * momentum) * lr
}
