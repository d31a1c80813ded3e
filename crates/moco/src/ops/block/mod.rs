//! Residual blocks in training: convolutions in a row, and around them a skip connection.

mod cpu;
mod stock;
#[cfg(test)]
mod tests;
#[cfg(feature = "libtorch")]
mod torch;

use super::Engine;
use super::batch_norm::{ByBatch, Statistics};
use super::conv::Filter;
use burn::tensor::Tensor;

/// One convolution with its BatchNorm.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The convolution's weight.
    pub filter: Filter,
    /// What its output is normalised with.
    pub norm: ByBatch,
}

/// `relu(f(x) + skip(x))`: `f` the layers, ReLUs between; the skip the projection, or `x` itself. Also
/// the statistics of each layer, the projection's last.
///
/// He et al. 2016 (arXiv 1512.03385), Eq. 1 and 2.
///
/// # Shapes
/// `x` is `[N, H, W, in]`; the output `[N, H', W', out]`.
///
/// # Panics
/// If N is not a multiple of a layer's groups.
pub fn residual_block(
    x: Tensor<4>,
    layers: Vec<Layer>,
    projection: Option<Layer>,
) -> (Tensor<4>, Vec<Statistics>) {
    match Engine::of(&x.device()) {
        Engine::Kernels(isa) if kernels_take(&layers, projection.as_ref()) => {
            cpu::residual_block(x, layers, projection, isa)
        }
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::residual_block(x, layers, projection),
        _ => stock::residual_block(x, layers, projection),
    }
}

/// Whether our CPU kernels have such a block: of two or three layers that agree in their groups.
fn kernels_take(layers: &[Layer], projection: Option<&Layer>) -> bool {
    let of = |layer: &Layer| (layer.norm.groups, layer.norm.epsilon);
    matches!(layers.len(), 2 | 3)
        && layers.iter().chain(projection).all(|l| of(l) == of(&layers[0]))
}
