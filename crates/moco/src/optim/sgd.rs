//! Stochastic gradient descent with torch's semantics.

use crate::nn::Buffer;
use crate::nn::update::sgd_step;
use burn::tensor::Tensor;

/// `v <- mu v + (g + wd p)`, `p <- p - lr v`, for `rates` of `[lr, mu, wd]`.
///
/// The learning rate stays outside the buffer, so a changing rate does not rescale past
/// gradients. No dampening, no Nesterov. The first step, from a zero buffer, is plain descent.
pub fn step(p: Tensor<1>, g: Tensor<1>, velocity: &mut Buffer<1>, rates: [f64; 3]) -> Tensor<1> {
    use crate::nn::TensorLeaf;
    let (p, v) = sgd_step(p, g, velocity.take_flat(), rates);
    velocity.set_flat(v);
    p
}
