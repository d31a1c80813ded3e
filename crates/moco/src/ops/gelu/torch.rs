//! GELU by LibTorch.

use super::Gelu;
use crate::ops::torch::node;
use burn::tensor::Tensor;

pub(super) fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    node(vec![x.into()], |t| t[0].gelu(name(kind)))
}

/// LibTorch's name for it.
pub(in crate::ops) fn name(kind: Gelu) -> &'static str {
    match kind {
        Gelu::Erf => "none",
        Gelu::Tanh => "tanh",
    }
}
