//! Residual blocks of layers that own their parameters.

use super::conv::{Conv, ConvNorm, conv_norm_act};
use super::norm::{BatchNorm, Mode};
use crate::ops::Epilogue;
use crate::ops::block::{self, Layer};
use burn::tensor::Tensor;

/// A convolution and what normalises its output.
pub type NormedConv<'a> = (&'a Conv, &'a mut ConvNorm);

/// `relu(f(x) + skip(x))`: `f` the layers, each with its normalisation, ReLUs between; the skip the
/// projection with its own, or `x` itself.
///
/// He et al. 2016 (arXiv 1512.03385), Eq. 1 and 2.
///
/// # Shapes
/// `x` is `[N, H, W, in]`; the output `[N, H', W', out]`.
///
/// # Panics
/// In training mode, if N is not a multiple of the BatchNorm's groups.
pub fn residual(
    x: Tensor<4>,
    layers: Vec<NormedConv>,
    projection: Option<NormedConv>,
    mode: Mode,
) -> Tensor<4> {
    let by_batch = |(_, norm): &NormedConv| matches!(norm, ConvNorm::Batch(_));
    if mode == Mode::Train && layers.iter().chain(&projection).all(by_batch) {
        return by_batches(x, layers, projection);
    }
    layer_by_layer(x, layers, projection, mode)
}

/// With any normalisation.
fn layer_by_layer(
    x: Tensor<4>,
    layers: Vec<NormedConv>,
    projection: Option<NormedConv>,
    mode: Mode,
) -> Tensor<4> {
    let skip = match projection {
        Some((conv, norm)) => conv_norm_act(x.clone(), conv, norm, Epilogue::Nothing, mode),
        None => x.clone(),
    };
    let last = layers.len() - 1;
    let mut skip = Some(skip);
    layers.into_iter().enumerate().fold(x, |x, (i, (conv, norm))| {
        let then = match skip.take_if(|_| i == last) {
            Some(skip) => Epilogue::AddRelu(skip),
            None => Epilogue::Relu,
        };
        conv_norm_act(x, conv, norm, then, mode)
    })
}

/// With BatchNorms by the statistics of the batch, as one operation.
fn by_batches(x: Tensor<4>, layers: Vec<NormedConv>, projection: Option<NormedConv>) -> Tensor<4> {
    let mut norms: Vec<&mut BatchNorm> = Vec::new();
    let mut layer = |(conv, norm)| {
        let (conv, norm): NormedConv = (conv, norm);
        let ConvNorm::Batch(norm) = norm else { unreachable!("all layers have BatchNorm") };
        let layer = Layer { filter: conv.filter(), norm: norm.by_batch() };
        norms.push(norm);
        layer
    };
    let layers = layers.into_iter().map(&mut layer).collect();
    let projection = projection.map(layer);
    let (out, statistics) = block::residual_block(x, layers, projection);
    for (norm, statistics) in norms.into_iter().zip(statistics) {
        norm.track(statistics);
    }
    out
}
