//! The backward pass of one head.

use super::AttentionShape;
use super::pack::{Factors, Head, Layout, times_across, times_along, write_rows};
use crate::gemm::Strided;
use crate::simd::{Kernel, Simd, exp, load_n, sum_lanes};
use crate::threads::{LINE, Scratch, cut};

pub(super) struct BackwardHead<'a> {
    pub shape: &'a AttentionShape,
    pub qkv: &'a [f32],
    pub out: &'a [f32],
    pub log_sums: &'a [f32],
    pub d_out: &'a [f32],
    /// Image and head.
    pub job: usize,
    /// As many floats as `qkv`, of which this job writes its head.
    pub d_qkv: *mut f32,
}

impl Kernel for BackwardHead<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardHead { shape, qkv, out, log_sums, d_out, job, d_qkv } = self;
        let layout = Layout::new::<S>(shape);
        let Layout { tokens, queries: asking, .. } = layout;
        let (whole, part) = (layout.along(tokens), layout.along(layout.block));
        let lens = [
            [layout.across(), layout.across(), whole, whole, whole],
            [layout.scores(), layout.scores(), part, part, part],
        ];
        let total = lens.as_flattened().iter().map(|len| len.next_multiple_of(LINE)).sum();
        let mut scratch = Scratch::new(total);
        let mut rest = &mut scratch[..];
        let [keys_across, values_across, keys, d_keys, d_values] =
            lens[0].map(|len| cut(&mut rest, len));
        let [probs, d_scores, queries, d_rows, d_queries] = lens[1].map(|len| cut(&mut rest, len));

        let [q, k, v] = [0, 1, 2].map(|part| Head::of_qkv(shape, qkv, job, part));
        let (o, d_o) = (Head::of_out(shape, out, job), Head::of_out(shape, d_out, job));
        k.transpose(s, &layout, keys_across);
        v.transpose(s, &layout, values_across);
        k.copy(s, &layout, (0, tokens), 1.0, keys);
        let (scale, stride) = (shape.scale(), layout.score_stride);
        for first in (0..asking).step_by(layout.block) {
            let rows = layout.block.min(asking - first);
            q.copy(s, &layout, (first, rows), scale, queries);
            d_o.copy(s, &layout, (first, rows), 1.0, d_rows);
            let by_row = |data, row_stride| Strided { data, row_stride, k_stride: 1 };
            times_across(s, &layout, by_row(queries, layout.deep), rows, keys_across, probs);
            times_across(s, &layout, by_row(d_rows, layout.deep), rows, values_across, d_scores);
            for row in 0..rows {
                let at = row * stride;
                let log_sum = log_sums[job * asking + first + row];
                let mean = dot(s, layout.head_dim, &o, &d_o, first + row);
                let (p, d) = (&mut probs[at..at + layout.wide], &mut d_scores[at..]);
                score_gradient(s, p, &mut d[..layout.wide], log_sum, mean);
            }
            let begun = first > 0;
            let by_column = |data| Strided { data, row_stride: 1, k_stride: stride };
            times_along(s, &layout, by_column(probs), [tokens, rows], d_rows, d_values, begun);
            times_along(s, &layout, by_column(d_scores), [tokens, rows], queries, d_keys, begun);
            let a = by_row(d_scores, stride);
            times_along(s, &layout, a, [rows, tokens], keys, d_queries, false);
            // SAFETY: this head's part of `d_qkv` is this job's.
            unsafe {
                let to = d_qkv.add(shape.qkv_start(job, 0) + first * shape.qkv_stride());
                let from = &d_queries[..layout.along(rows)];
                write_rows(s, &layout, from, Factors::All(scale), to, shape.qkv_stride());
            }
        }
        for token in asking..tokens {
            // SAFETY: this head's part of `d_qkv` is this job's.
            unsafe {
                let to = d_qkv.add(shape.qkv_start(job, 0) + token * shape.qkv_stride());
                to.write_bytes(0, shape.head_dim);
            }
        }
        for (part, from) in [(1, d_keys), (2, d_values)] {
            // SAFETY: this head's part of `d_qkv` is this job's. The queries carried the scale into
            // the keys' gradient.
            unsafe {
                let to = d_qkv.add(shape.qkv_start(job, part));
                write_rows(s, &layout, from, Factors::All(1.0), to, shape.qkv_stride());
            }
        }
    }
}

/// `Σ o d_o` of one token: the mean of `dP` under `P`.
#[inline(always)]
fn dot<S: Simd>(s: S, head_dim: usize, o: &Head, d_o: &Head, token: usize) -> f32 {
    let (a, b) = (&o.data[token * o.stride..], &d_o.data[token * d_o.stride..]);
    let (a, b) = (&a[..head_dim], &b[..head_dim]);
    let mut sum = s.splat(0.0);
    for at in (0..head_dim).step_by(S::LANES) {
        let lanes = S::LANES.min(head_dim - at);
        // SAFETY: `at + lanes <= head_dim`, the length of both.
        unsafe {
            let (a, b) =
                (load_n(s, a.as_ptr().add(at), lanes), load_n(s, b.as_ptr().add(at), lanes));
            sum = s.fma(a, b, sum);
        }
    }
    sum_lanes(s, sum)
}

/// Replaces scores by `P = e^{S - log_sum}` and `dP` by `P (dP - mean)`, whole vectors of both.
#[inline(always)]
fn score_gradient<S: Simd>(s: S, p: &mut [f32], d: &mut [f32], log_sum: f32, mean: f32) {
    assert!(p.len() == d.len() && p.len().is_multiple_of(S::LANES));
    let (log_sum, mean) = (s.splat(log_sum), s.splat(mean));
    for at in (0..p.len()).step_by(S::LANES) {
        // SAFETY: both are whole vectors.
        unsafe {
            let (p, d) = (p.as_mut_ptr().add(at), d.as_mut_ptr().add(at));
            let prob = exp(s, s.sub(s.load(p), log_sum));
            s.store(p, prob);
            s.store(d, s.mul(prob, s.sub(s.load(d), mean)));
        }
    }
}
