//! Linear layers by Burn's operations.

use super::Gelu;
use crate::ops::gelu::gelu;
use burn::tensor::{Tensor, module};

pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    kind: Option<Gelu>,
) -> Tensor<D> {
    let y = module::linear(x, weight.transpose(), bias);
    match kind {
        Some(kind) => gelu(y, kind),
        None => y,
    }
}
