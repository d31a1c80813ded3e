//! Layer normalisation by LibTorch.

use crate::ops::torch::node;
use burn::tensor::Tensor;

pub(super) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let channels = [x.dims()[D - 1] as i64];
    node(vec![x.into(), weight.into(), bias.into()], |t| {
        let x = t[0].to_kind(tch::Kind::Float);
        x.layer_norm(channels, Some(&t[1]), Some(&t[2]), epsilon, true)
    })
}
