//! Convolution and what follows it, as one operation, in the trunk's order `[N, H, W, C]`.

mod cpu;
mod cpu_eval;
mod patches;
mod stock;
#[cfg(test)]
mod tests;
#[cfg(feature = "libtorch")]
pub(super) mod torch;

use super::batch_norm::{ByBatch, ByRunning, Statistics};
use super::pool::max_pool;
use super::{Engine, Epilogue, Frozen};
use burn::tensor::Tensor;

/// The weight of a square convolution, padded so that stride 1 keeps the size (odd kernels).
#[derive(Clone, Debug)]
pub struct Filter {
    /// `[out, in, kernel, kernel]`.
    pub weight: Tensor<4>,
    /// Step between output positions.
    pub stride: usize,
    /// Where kernels may keep what they prepare of the weight.
    pub(crate) frozen: Option<Frozen>,
}

/// Convolution, BatchNorm by the statistics of the batch, and an epilogue; also these statistics.
///
/// # Shapes
/// `x` is `[N, H, W, in]`; the output, before a pool, and a skip connection are
/// `[N, ceil(H / stride), ceil(W / stride), out]`.
///
/// # Panics
/// If N is not a multiple of the number of groups.
pub fn conv_bn_by_batch(
    x: Tensor<4>,
    filter: Filter,
    norm: ByBatch,
    then: Epilogue,
) -> (Tensor<4>, Statistics) {
    let (then, pool) = then.split_pool();
    let (y, statistics) = match Engine::of(&filter.weight.device()) {
        Engine::Kernels(isa) => cpu::by_batch(x, filter, norm, then, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::by_batch(x, filter, norm, then),
        Engine::Stock => stock::by_batch(x, filter, norm, then),
    };
    (if pool { max_pool(y) } else { y }, statistics)
}

/// Convolution, BatchNorm by given statistics, and an epilogue.
///
/// # Shapes
/// As [`conv_bn_by_batch`].
pub fn conv_bn_by_running(
    x: Tensor<4>,
    filter: Filter,
    norm: ByRunning,
    then: Epilogue,
) -> Tensor<4> {
    let differentiable = x.is_autodiff() || filter.weight.is_autodiff();
    match Engine::of(&filter.weight.device()) {
        Engine::Kernels(isa) if !differentiable => cpu_eval::by_running(x, filter, norm, then, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::by_running(x, filter, norm, then),
        // Given statistics and a gradient: rare.
        _ => stock::by_running(x, filter, norm, then),
    }
}

/// Convolution, a bias, `[out]`, if there is one, and an epilogue.
///
/// # Shapes
/// As [`conv_bn_by_batch`].
pub fn conv_bias(
    x: Tensor<4>,
    filter: Filter,
    bias: Option<Tensor<1>>,
    then: Epilogue,
) -> Tensor<4> {
    let (then, pool) = then.split_pool();
    let y = match Engine::of(&filter.weight.device()) {
        Engine::Kernels(isa) => cpu::with_bias(x, filter, bias, then, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::with_bias(x, filter, bias, then),
        Engine::Stock => stock::with_bias(x, filter, bias, then),
    };
    if pool { max_pool(y) } else { y }
}
