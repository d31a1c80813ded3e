//! Attention by Burn's operations.

use super::{parts, weights};
use burn::tensor::Tensor;

pub(in crate::ops) fn attention(qkv: Tensor<3>, heads: usize, queries: usize) -> Tensor<3> {
    let [n, _, packed] = qkv.dims();
    let [q, k, v] = parts(qkv, heads);
    weights(q, k, queries).matmul(v).swap_dims(1, 2).reshape([n, queries, packed / 3])
}
