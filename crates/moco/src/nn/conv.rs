//! Convolutions with what follows them: layers that own their parameters.
//!
//! The trunk of every network here is `[N, H, W, C]` and built from these.

use super::init;
use super::layer_norm::LayerNorm;
use super::map_norm::MapNorm;
use super::module::{Module, Visitor};
use super::norm::{BatchNorm, Mode};
use super::param::Param;
use crate::ops::Epilogue;
use crate::ops::conv::{Filter, conv_bias, conv_bn_by_batch, conv_bn_by_running};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// A square convolution without bias, padded so that stride 1 keeps the size (odd kernels).
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<4>,
    stride: usize,
}

crate::module!(Conv { weight });

impl Conv {
    /// Draws a layer from `rng` (Kaiming normal, fan out).
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let shape = [outputs, inputs, kernel, kernel];
        Self { weight: Param::new(init::kaiming_normal_fan_out(shape, rng, device)), stride }
    }

    /// A layer of the given weight, `[out, in, kernel, kernel]`.
    pub fn of_weight(weight: Tensor<4>, stride: usize) -> Self {
        Self { weight: Param::new(weight), stride }
    }

    /// Step between output positions.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The weight, ready to compute with.
    pub(super) fn filter(&self) -> Filter {
        let frozen = self.weight.frozen();
        Filter { weight: self.weight.val(), stride: self.stride, frozen }
    }
}

/// Convolution, BatchNorm and an epilogue, as one operation.
///
/// # Shapes
/// `x` is `[N, H, W, in]`; the output, before a pool, and a skip connection, `[N, H', W', out]`.
///
/// # Panics
/// In training mode, if N is not a multiple of the BatchNorm's groups.
pub fn conv_bn_act(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut BatchNorm,
    then: Epilogue,
    mode: Mode,
) -> Tensor<4> {
    match mode {
        Mode::Eval => conv_bn_by_running(x, conv.filter(), norm.by_running(), then),
        Mode::Train => {
            let (y, statistics) = conv_bn_by_batch(x, conv.filter(), norm.by_batch(), then);
            norm.track(statistics);
            y
        }
    }
}

/// The normalisation behind a convolution.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "most networks have nothing but the large one")]
pub enum ConvNorm {
    /// Over the batch.
    Batch(BatchNorm),
    /// Over the channels of each position.
    Layer(LayerNorm),
    /// Over all positions and channels of an image.
    Map(MapNorm),
    /// Nothing.
    Nothing,
}

impl Module for ConvNorm {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        match self {
            ConvNorm::Batch(norm) => norm.visit(visitor),
            ConvNorm::Layer(norm) => norm.visit(visitor),
            ConvNorm::Map(norm) => norm.visit(visitor),
            ConvNorm::Nothing => {}
        }
    }
}

/// As [`conv_bn_act`], with any normalisation.
///
/// # Shapes
/// As [`conv_bn_act`].
///
/// # Panics
/// As [`conv_bn_act`].
pub fn conv_norm_act(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut ConvNorm,
    then: Epilogue,
    mode: Mode,
) -> Tensor<4> {
    let alone = |x| conv_bias(x, conv.filter(), None, Epilogue::Nothing);
    match norm {
        ConvNorm::Batch(norm) => conv_bn_act(x, conv, norm, then, mode),
        ConvNorm::Nothing => conv_bias(x, conv.filter(), None, then),
        ConvNorm::Layer(norm) => then.apply(norm.forward(alone(x))),
        ConvNorm::Map(norm) => then.apply(norm.forward(alone(x))),
    }
}
