//! Layer normalisation as a function. Ba et al. 2016 (arXiv 1607.06450).

pub(super) mod cpu;
#[cfg(feature = "libtorch")]
mod torch;

use super::Engine;
use burn::tensor::{Tensor, module};

/// `(x - mean) / sqrt(var + epsilon) * weight + bias` over the last dimension; `var` is biased.
///
/// # Shapes
/// `[..., C]` to the same; `weight` and `bias` are `[C]`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    match Engine::of(&x.device()) {
        Engine::Kernels(isa) => cpu::layer_norm(x, weight, bias, epsilon, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::layer_norm(x, weight, bias, epsilon),
        Engine::Stock => module::layer_norm(x, weight, Some(bias), epsilon),
    }
}
