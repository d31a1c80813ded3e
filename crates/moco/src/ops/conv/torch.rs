//! Convolution and what follows it by LibTorch, as one node.

use super::Filter;
use crate::ops::Epilogue;
use crate::ops::batch_norm::{ByBatch, ByRunning, Statistics};
use crate::ops::pool::max_pool;
use crate::ops::torch::{Operand, Running, batch_norm, node, to_nchw, to_nhwc};
use burn::tensor::Tensor;

pub(super) fn by_batch(
    x: Tensor<4>,
    filter: Filter,
    norm: ByBatch,
    then: Epilogue,
) -> (Tensor<4>, Statistics) {
    let ByBatch { scale, shift, groups, epsilon, running, .. } = norm;
    let (skip, relu) = then.skip_and_relu();
    let running = Running::of(running, scale.dims()[0], &x.device());
    let mut operands: Vec<Operand> =
        vec![x.into(), filter.weight.into(), scale.into(), shift.into()];
    operands.extend(skip.map(Operand::from));
    let y = node(operands, |t| {
        let y = conv(&to_nchw(&t[0]), &t[1], None, filter.stride);
        let y = batch_norm::by_batch(&y, [&t[2], &t[3]], &running, groups, epsilon);
        finish(y, t.get(4), relu)
    });
    (y, running.moved())
}

pub(super) fn by_running(
    x: Tensor<4>,
    filter: Filter,
    norm: ByRunning,
    then: Epilogue,
) -> Tensor<4> {
    let ByRunning { scale, shift, mean, variance, epsilon } = norm;
    let (then, pool) = then.split_pool();
    let (skip, relu) = then.skip_and_relu();
    let mut operands: Vec<Operand> = vec![
        x.into(),
        filter.weight.into(),
        scale.into(),
        shift.into(),
        mean.into(),
        variance.into(),
    ];
    operands.extend(skip.map(Operand::from));
    let y = node(operands, |t| {
        let y = conv(&to_nchw(&t[0]), &t[1], None, filter.stride);
        let y = batch_norm::by_running(&y, [&t[2], &t[3]], [&t[4], &t[5]], epsilon);
        finish(y, t.get(6), relu)
    });
    if pool { max_pool(y) } else { y }
}

/// The convolution is in the run's precision; its output is f32, as what follows is not of this node.
pub(super) fn with_bias(
    x: Tensor<4>,
    filter: Filter,
    bias: Option<Tensor<1>>,
    then: Epilogue,
) -> Tensor<4> {
    let (skip, relu) = then.skip_and_relu();
    let biased = bias.is_some();
    let mut operands: Vec<Operand> = vec![x.into(), filter.weight.into()];
    operands.extend(bias.map(Operand::from));
    operands.extend(skip.map(Operand::from));
    node(operands, |t| {
        let bias = if biased { t.get(2) } else { None };
        let y = conv(&to_nchw(&t[0]), &t[1], bias, filter.stride);
        finish(y.to_kind(tch::Kind::Float), t.get(if biased { 3 } else { 2 }), relu)
    })
}

/// `[N, in, H, W]` to `[N, out, H', W']`.
pub(in crate::ops) fn conv(
    x: &tch::Tensor,
    weight: &tch::Tensor,
    bias: Option<&tch::Tensor>,
    stride: usize,
) -> tch::Tensor {
    let (kernel, stride) = (weight.size()[2], stride as i64);
    if kernel == 1 && stride > 1 && x.device() == tch::Device::Cpu && x.size()[1] < ONEDNN_BLOCK {
        let seen = x.slice(2, None, None, stride).slice(3, None, None, stride);
        return seen.conv2d(weight, bias, [1, 1], [0, 0], [1, 1], 1);
    }
    x.conv2d(weight, bias, [stride; 2], [kernel / 2; 2], [1, 1], 1)
}

/// Channels that oneDNN computes at once, at most: 8 with AVX2, 16 with AVX-512. Of fewer, in a strided
/// convolution of one pixel over channels-last maps, its gradient of the weight writes beyond its buffer
/// (github.com/uxlfoundation/oneDNN, issue 6035; in LibTorch 2.9).
const ONEDNN_BLOCK: i64 = 16;

/// The epilogue, in place, and the trunk's order.
fn finish(mut y: tch::Tensor, skip: Option<&tch::Tensor>, relu: bool) -> tch::Tensor {
    if let Some(skip) = skip {
        y += to_nchw(skip);
    }
    to_nhwc(&if relu { y.relu_() } else { y })
}
