//! The forward pass of one head.

use super::AttentionShape;
use super::pack::{Factors, Head, Layout, times_across, times_along, write_rows};
use crate::gemm::Strided;
use crate::simd::{Kernel, Simd, exp, max_lanes, sum_lanes};
use crate::threads::{LINE, Scratch, cut};

pub(super) struct ForwardHead<'a> {
    pub shape: &'a AttentionShape,
    pub qkv: &'a [f32],
    /// Image and head.
    pub job: usize,
    /// The head's first float; its rows are writable.
    pub out: *mut f32,
    /// `[Q]`
    pub log_sums: &'a mut [f32],
}

impl Kernel for ForwardHead<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ForwardHead { shape, qkv, job, out, log_sums } = self;
        let layout = Layout::new::<S>(shape);
        let lens = [
            layout.across(),
            layout.along(layout.tokens),
            layout.scores(),
            layout.along(layout.block),
            layout.along(layout.block),
            layout.block,
        ];
        let mut scratch = Scratch::new(lens.iter().map(|len| len.next_multiple_of(LINE)).sum());
        let mut rest = &mut scratch[..];
        let [keys, values, scores, queries, block_out, inverses] =
            lens.map(|len| cut(&mut rest, len));
        Head::of_qkv(shape, qkv, job, 1).transpose(s, &layout, keys);
        Head::of_qkv(shape, qkv, job, 2).copy(s, &layout, (0, layout.tokens), 1.0, values);
        for first in (0..layout.queries).step_by(layout.block) {
            let rows = layout.block.min(layout.queries - first);
            let head = Head::of_qkv(shape, qkv, job, 0);
            head.copy(s, &layout, (first, rows), shape.scale(), queries);
            let a = Strided { data: queries, row_stride: layout.deep, k_stride: 1 };
            times_across(s, &layout, a, rows, keys, scores);
            for row in 0..rows {
                let scores = &mut scores[row * layout.score_stride..][..layout.wide];
                let (log_sum, sum) = softmax_row(s, layout.tokens, scores);
                (log_sums[first + row], inverses[row]) = (log_sum, 1.0 / sum);
            }
            let a = Strided { data: scores, row_stride: layout.score_stride, k_stride: 1 };
            times_along(s, &layout, a, [rows, layout.tokens], values, block_out, false);
            // SAFETY: these rows of this head are this job's.
            unsafe {
                let to = out.add(first * shape.out_stride());
                let from = &block_out[..layout.along(rows)];
                write_rows(s, &layout, from, Factors::Each(inverses), to, shape.out_stride());
            }
        }
    }
}

/// Replaces a row of scores by `e^{S - max}`; returns `log Σ e^S` and `Σ e^{S - max}`.
///
/// The row is a whole number of vectors, of which the first `tokens` floats are scores.
#[inline(always)]
fn softmax_row<S: Simd>(s: S, tokens: usize, row: &mut [f32]) -> (f32, f32) {
    row[tokens..].fill(f32::NEG_INFINITY);
    let mut largest = s.splat(f32::NEG_INFINITY);
    for at in (0..row.len()).step_by(S::LANES) {
        // SAFETY: the row is whole vectors.
        largest = s.max(largest, unsafe { s.load(row.as_ptr().add(at)) });
    }
    let max = max_lanes(s, largest);
    let shift = s.splat(max);
    let mut sum = s.splat(0.0);
    for at in (0..row.len()).step_by(S::LANES) {
        // SAFETY: the row is whole vectors.
        unsafe {
            let p = row.as_mut_ptr().add(at);
            let e = exp(s, s.sub(s.load(p), shift));
            s.store(p, e);
            sum = s.add(sum, e);
        }
    }
    let sum = sum_lanes(s, sum);
    (max + sum.ln(), sum)
}
