//! Multi-head self-attention. Vaswani et al. 2017 (arXiv 1706.03762), Sec. 3.2.

use super::{Linear, fused, fused_vit};
use burn::tensor::{Tensor, activation::softmax};

/// Self-attention with its four projections; names are timm's.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Queries, keys and values in one, `[3 D, D]`.
    pub qkv: Linear,
    /// The linear layer behind the concatenated heads, `[D, D]`.
    pub proj: Linear,
    heads: usize,
}

crate::module!(Attention { qkv, proj });

impl Attention {
    /// `heads` must divide the width D.
    pub fn new(qkv: Linear, proj: Linear, heads: usize) -> Self {
        Self { qkv, proj, heads }
    }

    /// What the first `queries` tokens gather from all tokens.
    ///
    /// # Shapes
    /// `[N, T, D]` to `[N, queries, D]`.
    pub fn forward(&self, x: Tensor<3>, queries: usize) -> Tensor<3> {
        self.proj.forward(attention(self.qkv.forward(x), self.heads, queries))
    }

    /// How much each of the first `queries` tokens takes of every token, head by head: the weights
    /// of Eq. 1, to look at.
    ///
    /// # Shapes
    /// `[N, T, D]` to `[N, H, queries, T]`; the last dimension sums to 1.
    pub fn weights(&self, x: Tensor<3>, queries: usize) -> Tensor<4> {
        let [q, k, _] = parts(self.qkv.forward(x), self.heads);
        weights(q, k, queries)
    }
}

/// `softmax(q kᵀ / sqrt(d)) v` (Eq. 1) for every head, of width d, and the first `queries` tokens.
///
/// # Shapes
/// `[N, T, 3 H d]`, packed as (q | k | v), each head by head, to `[N, queries, H d]`.
pub fn attention(qkv: Tensor<3>, heads: usize, queries: usize) -> Tensor<3> {
    match fused::isa(&qkv.device()) {
        Some(isa) => fused_vit::attention(qkv, heads, queries, isa),
        None => compose(qkv, heads, queries),
    }
}

pub(super) fn compose(qkv: Tensor<3>, heads: usize, queries: usize) -> Tensor<3> {
    let [n, _, packed] = qkv.dims();
    let [q, k, v] = parts(qkv, heads);
    weights(q, k, queries).matmul(v).swap_dims(1, 2).reshape([n, queries, packed / 3])
}

/// Queries, keys and values of every head, each `[N, H, T, d]`.
fn parts(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let [n, t, packed] = qkv.dims();
    let width = packed / 3;
    std::array::from_fn(|i| {
        let part = qkv.clone().narrow(2, i * width, width);
        part.reshape([n, t, heads, width / heads]).swap_dims(1, 2)
    })
}

/// `softmax(q kᵀ / sqrt(d))` of the first `queries` tokens, `[N, H, queries, T]`.
fn weights(q: Tensor<4>, k: Tensor<4>, queries: usize) -> Tensor<4> {
    let [_, _, t, d] = q.dims();
    let q = if queries < t { q.narrow(2, 0, queries) } else { q };
    let q = q * (d as f64).powf(-0.5); // cheaper than to scale the scores
    softmax(q.matmul(k.transpose()), 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::device::Device;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};

    /// Eq. 1 by loops, in f64.
    fn by_loops(qkv: &[f32], [n, t, queries, heads, d]: [usize; 5]) -> Vec<f64> {
        let width = heads * d;
        let mut out = vec![0.0; n * queries * width];
        for index in 0..n * heads * queries {
            let (i, h) = (index / (heads * queries), index / queries % heads);
            let row = index % queries;
            let at = |token: usize, part: usize, c: usize| {
                f64::from(qkv[((i * t + token) * 3 + part) * width + h * d + c])
            };
            let score = |k: usize| (0..d).map(|c| at(row, 0, c) * at(k, 1, c)).sum::<f64>();
            let weights: Vec<f64> = (0..t).map(|k| (score(k) / (d as f64).sqrt()).exp()).collect();
            let total: f64 = weights.iter().sum();
            for c in 0..d {
                let mixed: f64 = (0..t).map(|k| weights[k] / total * at(k, 2, c)).sum();
                out[(i * queries + row) * width + h * d + c] = mixed;
            }
        }
        out
    }

    #[test]
    fn every_head_attends_as_equation_1_says() {
        for [n, t, queries, heads, d] in [[2, 5, 5, 3, 4], [1, 1, 1, 1, 7], [3, 17, 1, 2, 8]] {
            let rng = &mut stream(5, Purpose::Weights, t as u64);
            let qkv = init::normal([n, t, 3 * heads * d], 1.0, rng, &Device::flex());
            let expected = by_loops(&to_host(qkv.clone()), [n, t, queries, heads, d]);
            for (found, expected) in to_host(attention(qkv, heads, queries)).iter().zip(expected) {
                // A mean of normal values: the error of an f32 exponent, 1e-7 of a score near 10.
                assert!((f64::from(*found) - expected).abs() < 5e-6, "{found} {expected}");
            }
        }
    }

    /// A token's values weighted by what is looked at are what it gathers.
    #[test]
    fn weights_are_those_that_values_are_gathered_with() {
        let (n, t, heads, d) = (2, 6, 3, 4);
        let rng = &mut stream(6, Purpose::Weights, 0);
        let device = &Device::flex();
        let mut linear = |outputs| Linear::new(heads * d, outputs, rng, device);
        let layer = Attention::new(linear(3 * heads * d), linear(heads * d), heads);
        let x = init::normal([n, t, heads * d], 1.0, rng, device);
        let [_, _, v] = parts(layer.qkv.forward(x.clone()), heads);
        let found = layer.weights(x.clone(), 2);
        assert_eq!(found.dims(), [n, heads, 2, t]);
        let gathered = found.matmul(v).swap_dims(1, 2).reshape([n, 2, heads * d]);
        let gathered = to_host(layer.proj.forward(gathered));
        for (found, expected) in gathered.iter().zip(to_host(layer.forward(x, 2))) {
            // Sums of a dozen products in two orders.
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
