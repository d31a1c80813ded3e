//! Linear layers, alone or followed by GELU.

pub(super) mod cpu;
mod stock;
#[cfg(feature = "libtorch")]
mod torch;

use super::gelu::Gelu;
use super::{Engine, Frozen};
use burn::tensor::Tensor;

/// `y = x Wᵀ + b` over the last dimension.
///
/// # Shapes
/// `x` is `[..., in]`, `weight` `[out, in]`, `bias` `[out]`; the output `[..., out]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    linear_gelu(x, weight, bias, None, None)
}

/// [`linear`] and, as one operation because the two are worth fusing, the GELU after it.
///
/// Kernels may keep what they prepare of the weight in `frozen`.
pub(crate) fn linear_gelu<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    gelu: Option<Gelu>,
    frozen: Option<Frozen>,
) -> Tensor<D> {
    match Engine::of(&x.device()) {
        Engine::Kernels(isa) => cpu::linear(x, weight, bias, gelu, frozen, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::linear(x, weight, bias, gelu),
        Engine::Stock => stock::linear(x, weight, bias, gelu),
    }
}
