//! Convolution and what follows it by Burn's operations, which have torch's order `[N, C, H, W]`.

use super::{Filter, patches};
use crate::ops::Epilogue;
use crate::ops::batch_norm::{self, ByBatch, ByRunning, Statistics};
use crate::ops::engine::is_cubecl;
use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

pub(super) fn by_batch(
    x: Tensor<4>,
    filter: Filter,
    norm: ByBatch,
    then: Epilogue,
) -> (Tensor<4>, Statistics) {
    let (y, statistics) = batch_norm::by_batch(conv(x, filter), norm);
    (then.apply(to_nhwc(y)), statistics)
}

pub(super) fn by_running(
    x: Tensor<4>,
    filter: Filter,
    norm: ByRunning,
    then: Epilogue,
) -> Tensor<4> {
    then.apply(to_nhwc(batch_norm::by_running(conv(x, filter), norm)))
}

pub(super) fn with_bias(
    x: Tensor<4>,
    filter: Filter,
    bias: Option<Tensor<1>>,
    then: Epilogue,
) -> Tensor<4> {
    let y = conv(x, filter);
    let y = match bias {
        Some(bias) => y + bias.reshape([1, -1, 1, 1]),
        None => y,
    };
    then.apply(to_nhwc(y))
}

/// `[N, H, W, in]` to `[N, out, H', W']`.
fn conv(x: Tensor<4>, filter: Filter) -> Tensor<4> {
    if is_cubecl(&x.device()) {
        return patches::conv(x, filter).permute([0, 3, 1, 2]);
    }
    let pad = filter.weight.dims()[2] / 2;
    let options = ConvOptions::new([filter.stride; 2], [pad; 2], [1; 2], 1);
    conv2d(x.permute([0, 3, 1, 2]), filter.weight, None, options)
}

/// Permuting is free: between two layers the memory simply stays in torch's order.
fn to_nhwc(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}
