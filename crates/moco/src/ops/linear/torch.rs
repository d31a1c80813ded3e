//! Linear layers by LibTorch, with the GELU after them as one node.

use super::Gelu;
use crate::ops::gelu::torch::name;
use crate::ops::torch::{Operand, node};
use burn::tensor::Tensor;

/// Of tokens in the run's precision; of rows, which heads and losses follow, in f32.
pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    kind: Option<Gelu>,
) -> Tensor<D> {
    let mut operands: Vec<Operand> = vec![x.into(), weight.into()];
    operands.extend(bias.map(Operand::from));
    node(operands, |t| {
        let y = t[0].linear(&t[1], t.get(2));
        match kind {
            Some(kind) => y.gelu(name(kind)),
            None if D == 2 => y.to_kind(tch::Kind::Float),
            None => y,
        }
    })
}
