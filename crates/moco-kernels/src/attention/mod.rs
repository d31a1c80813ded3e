//! Softmax attention of several heads (Vaswani et al. 2017, arXiv 1706.03762, Eq. 1), reading
//! queries, keys and values where one linear layer left them.
//!
//! With `S = Q Kᵀ / √d`, `P = softmax(S)` row by row and `D_i = Σ_j dO_ij O_ij`:
//!
//! ```text
//! O  = P V             dV = Pᵀ dO            dP = dO Vᵀ
//! dS = P (dP - D)      dQ = dS K / √d        dK = dSᵀ Q / √d
//! ```
//! One job per image and head. It packs `K` and `V` once and takes the queries in blocks, so that
//! of the `[Q, T]` scores only a block of rows exists, in L2. The forward pass keeps one number per
//! query, `log Σ_j e^{S_ij}`; the backward pass computes the scores again, which costs a fifth of
//! its products and saves `B H Q T` floats.
//!
//! Error: relative Frobenius error against f64 for normally distributed q, k and v, up to `T = 400`
//! and `d = 128`: below 1e-6 for the output and 2e-6 for the gradients.

mod backward;
mod forward;
mod pack;
mod scalar;
#[cfg(test)]
mod tests;

use crate::Isa;
use crate::threads::{Disjoint, filled, for_each};
use backward::BackwardHead;
use forward::ForwardHead;

/// Sizes of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Images in the batch, `B`.
    pub batch: usize,
    /// Tokens per image, `T`: as many keys and values.
    pub tokens: usize,
    /// Tokens per image that ask, `Q`, at most `T`: the first ones. A network that reads its class
    /// token alone needs one query in its last block.
    pub queries: usize,
    /// Heads, `H`.
    pub heads: usize,
    /// Floats per head, `d`.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Floats of the packed queries, keys and values `[B, T, 3, H, d]`.
    pub fn qkv_len(&self) -> usize {
        self.batch * self.tokens * self.qkv_stride()
    }

    /// Floats of the output `[B, Q, H, d]`.
    pub fn out_len(&self) -> usize {
        self.batch * self.queries * self.out_stride()
    }

    /// Rows of scores in all, `B H Q`.
    pub fn rows(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    /// Operations of the forward pass's matrix products, a multiply-add counted as two. The
    /// backward pass takes two and a half times as many.
    pub fn flops(&self) -> f64 {
        4.0 * (self.rows() * self.tokens * self.head_dim) as f64
    }

    /// `1 / √d`
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Floats from one token's query to the next.
    fn qkv_stride(&self) -> usize {
        3 * self.heads * self.head_dim
    }

    /// Floats from one token's output to the next.
    fn out_stride(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Where head `job % H` of image `job / H` begins in the output.
    fn out_start(&self, job: usize) -> usize {
        let (image, head) = (job / self.heads, job % self.heads);
        image * self.queries * self.out_stride() + head * self.head_dim
    }

    /// Where a job's floats begin in the packed queries (`part` 0), keys (1) and values (2).
    fn qkv_start(&self, job: usize, part: usize) -> usize {
        let (image, head) = (job / self.heads, job % self.heads);
        image * self.tokens * self.qkv_stride() + (part * self.heads + head) * self.head_dim
    }

    fn is_empty(&self) -> bool {
        self.out_len() == 0
    }

    fn check(&self, qkv: &[f32]) {
        assert!(self.queries <= self.tokens, "queries are tokens of {self:?}");
        assert_eq!(qkv.len(), self.qkv_len(), "qkv is [B, T, 3, H, d] of {self:?}");
    }
}

/// What [`attention_forward`] returns.
#[derive(Debug)]
pub struct AttentionOutput {
    /// `[B, Q, H d]`
    pub out: Vec<f32>,
    /// `log Σ_j e^{S_ij}` per query, `[B, H, Q]`, for [`attention_backward`].
    pub log_sums: Vec<f32>,
}

/// `softmax(Q Kᵀ / √d) V` for each head.
///
/// # Shapes
/// `qkv` `[B, T, 3, H, d]`, as a linear layer with `3 H d` outputs writes it; queries beyond the first
/// `Q` tokens are not read.
///
/// # Panics
/// When `qkv` does not have its shape's length, or there are more queries than tokens.
pub fn attention_forward(isa: Isa, shape: &AttentionShape, qkv: &[f32]) -> AttentionOutput {
    shape.check(qkv);
    if shape.is_empty() {
        return AttentionOutput { out: Vec::new(), log_sums: vec![0.0; shape.rows()] };
    }
    let isa = isa.for_channels(shape.head_dim.max(shape.tokens));
    let mut log_sums = vec![0.0; shape.rows()];
    let sums = Disjoint::new(&mut log_sums);
    // SAFETY: each job has its own head of all outputs, and the heads cover `out`.
    let out = unsafe {
        filled(shape.out_len(), |out| {
            let out = Disjoint::new(out);
            for_each(shape.batch * shape.heads, |job| {
                let log_sums = sums.slice(job * shape.queries..(job + 1) * shape.queries);
                let out = out.start().cast::<f32>().add(shape.out_start(job));
                isa.run(ForwardHead { shape, qkv, job, out, log_sums });
            });
        })
    };
    AttentionOutput { out, log_sums }
}

/// `d_qkv` from the input and the results of [`attention_forward`].
///
/// # Shapes
/// `qkv` `[B, T, 3, H, d]`, `out` and `d_out` `[B, Q, H d]`, `log_sums` `[B, H, Q]`; returns `[B, T,
/// 3, H, d]`, with zeros for queries that were not read.
///
/// # Panics
/// As [`attention_forward`], and when another slice does not have its shape's length.
pub fn attention_backward(
    isa: Isa,
    shape: &AttentionShape,
    qkv: &[f32],
    out: &[f32],
    log_sums: &[f32],
    d_out: &[f32],
) -> Vec<f32> {
    shape.check(qkv);
    assert_eq!(out.len(), shape.out_len(), "out is [B, Q, H d] of {shape:?}");
    assert_eq!(log_sums.len(), shape.rows(), "log_sums is [B, H, Q] of {shape:?}");
    assert_eq!(d_out.len(), shape.out_len(), "d_out is [B, Q, H d] of {shape:?}");
    if shape.is_empty() {
        return vec![0.0; shape.qkv_len()];
    }
    let isa = isa.for_channels(shape.head_dim.max(shape.tokens));
    // SAFETY: each job has its own head of queries, keys and values, and the heads cover `d_qkv`.
    unsafe {
        filled(shape.qkv_len(), |d_qkv| {
            let d_qkv = Disjoint::new(d_qkv);
            for_each(shape.batch * shape.heads, |job| {
                let d_qkv = d_qkv.start().cast::<f32>();
                isa.run(BackwardHead { shape, qkv, out, log_sums, d_out, job, d_qkv });
            });
        })
    }
}
