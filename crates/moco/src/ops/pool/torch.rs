//! Pooling by LibTorch.

use crate::ops::torch::{node, to_nchw, to_nhwc};
use burn::tensor::Tensor;

pub(super) fn max_pool(x: Tensor<4>) -> Tensor<4> {
    node(vec![x.into()], |t| {
        to_nhwc(&to_nchw(&t[0]).max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false))
    })
}

/// Sums and gives f32, whatever the run's precision.
pub(super) fn average_pool(x: Tensor<4>) -> Tensor<2> {
    let positions: &[i64] = &[1, 2];
    node(vec![x.into()], |t| t[0].mean_dim(positions, false, tch::Kind::Float))
}
