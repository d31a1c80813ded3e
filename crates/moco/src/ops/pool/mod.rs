//! Pooling of maps, in the trunk's order `[N, H, W, C]`.

pub(super) mod cpu;
mod stock;
#[cfg(test)]
mod tests;
#[cfg(feature = "libtorch")]
mod torch;

use super::Engine;
use burn::tensor::Tensor;

/// 3x3 max-pool with stride 2 and padding 1.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, ceil(H / 2), ceil(W / 2), C]`.
pub fn max_pool(x: Tensor<4>) -> Tensor<4> {
    match Engine::of(&x.device()) {
        Engine::Kernels(isa) => cpu::max_pool(x, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::max_pool(x),
        Engine::Stock => stock::max_pool(x),
    }
}

/// Mean over all positions.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, C]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    match Engine::of(&x.device()) {
        Engine::Kernels(isa) => cpu::average_pool(x, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::average_pool(x),
        Engine::Stock => stock::average_pool(x),
    }
}
