//! A residual block in training by LibTorch, as one node.

use super::Layer;
use crate::ops::batch_norm::Statistics;
use crate::ops::conv::torch::conv;
use crate::ops::torch::{Operand, Running, batch_norm, node, to_nchw, to_nhwc};
use burn::tensor::Tensor;

/// What of a layer is no operand.
struct Settings {
    stride: usize,
    groups: usize,
    epsilon: f64,
    running: Running,
}

pub(super) fn residual_block(
    x: Tensor<4>,
    layers: Vec<Layer>,
    projection: Option<Layer>,
) -> (Tensor<4>, Vec<Statistics>) {
    let (depth, projected) = (layers.len(), projection.is_some());
    let device = x.device();
    let mut operands: Vec<Operand> = vec![x.into()];
    let mut settings: Vec<Settings> = Vec::new();
    for Layer { filter, norm } in layers.into_iter().chain(projection) {
        let running = Running::of(norm.running, norm.scale.dims()[0], &device);
        let (stride, groups, epsilon) = (filter.stride, norm.groups, norm.epsilon);
        settings.push(Settings { stride, groups, epsilon, running });
        operands.extend([filter.weight.into(), norm.scale.into(), norm.shift.into()]);
    }
    let y = node(operands, |t| {
        let layer = |x: &tch::Tensor, i: usize| {
            let Settings { stride, groups, epsilon, running } = &settings[i];
            let [weight, scale, shift] = [0, 1, 2].map(|part| &t[1 + 3 * i + part]);
            let y = conv(x, weight, None, *stride);
            batch_norm::by_batch(&y, [scale, shift], running, *groups, *epsilon)
        };
        let x = to_nchw(&t[0]);
        let mut y = layer(&x, 0);
        for i in 1..depth {
            y = layer(&y.relu_(), i);
        }
        y += if projected { layer(&x, depth) } else { x };
        to_nhwc(&y.relu_())
    });
    (y, settings.into_iter().map(|layer| layer.running.moved()).collect())
}
