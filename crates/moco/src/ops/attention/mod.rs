//! Softmax attention of many heads as a function. Vaswani et al. 2017 (arXiv 1706.03762), Sec. 3.2.

pub(super) mod cpu;
pub(super) mod stock;
#[cfg(feature = "libtorch")]
mod torch;

use super::Engine;
use burn::tensor::{Tensor, activation::softmax};

/// `softmax(q kᵀ / sqrt(d)) v` (Eq. 1) for every head, of width d, and the first `queries` tokens.
///
/// # Shapes
/// `[N, T, 3 H d]`, packed as (q | k | v), each head by head, to `[N, queries, H d]`.
pub fn attention(qkv: Tensor<3>, heads: usize, queries: usize) -> Tensor<3> {
    match Engine::of(&qkv.device()) {
        Engine::Kernels(isa) => cpu::attention(qkv, heads, queries, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::attention(qkv, heads, queries),
        Engine::Stock => stock::attention(qkv, heads, queries),
    }
}

/// Queries, keys and values of every head, each `[N, H, T, d]`.
pub(crate) fn parts(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let [n, t, packed] = qkv.dims();
    let width = packed / 3;
    std::array::from_fn(|i| {
        let part = qkv.clone().narrow(2, i * width, width);
        part.reshape([n, t, heads, width / heads]).swap_dims(1, 2)
    })
}

/// `softmax(q kᵀ / sqrt(d))` of the first `queries` tokens, `[N, H, queries, T]`.
pub(crate) fn weights(q: Tensor<4>, k: Tensor<4>, queries: usize) -> Tensor<4> {
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
}
