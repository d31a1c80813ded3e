//! Attention by LibTorch, which takes the fastest of its own ways: flash attention where the device and
//! the precision have it.

use crate::ops::torch::node;
use burn::tensor::Tensor;

pub(super) fn attention(qkv: Tensor<3>, heads: usize, queries: usize) -> Tensor<3> {
    let [n, tokens, packed] = qkv.dims().map(|size| size as i64);
    let (heads, queries) = (heads as i64, queries as i64);
    node(vec![qkv.into()], |t| {
        let heads = t[0].reshape([n, tokens, 3, heads, packed / 3 / heads]);
        let heads = heads.permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|part| heads.select(0, part));
        let q = if queries < tokens { q.narrow(2, 0, queries) } else { q };
        let none = None::<&tch::Tensor>;
        let y =
            tch::Tensor::scaled_dot_product_attention(&q, &k, &v, none, 0.0, false, None, false);
        y.transpose(1, 2).reshape([n, queries, packed / 3])
    })
}
