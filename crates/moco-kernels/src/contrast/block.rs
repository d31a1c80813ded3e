//! One job: a group of queries against a part of the matrix.

use std::ops::Range;

use super::Positives;
use crate::gemm::{Dims, Panel, Panels, Strided, multiply_apart};
use crate::simd::{Kernel, Simd, exp, load_n};
use crate::threads::{LINE, Scratch, cut};

/// Rows of the matrix whose logits exist at once.
pub(super) const CHUNK: usize = 128;
/// Below every logit, and far enough above [`MASKED`] for its exponential to vanish.
pub(super) const LOWEST: f32 = f32::MIN / 2.0;
/// The logit of a positive where the negatives are gathered.
const MASKED: f32 = f32::MIN;

/// What a job leaves: `[queries]` largest logits, `[queries]` sums of `e^{logit - largest}`, and
/// `[queries, deep]` sums of rows with these weights.
#[derive(Clone, Copy)]
pub(super) struct Partial {
    /// Whole vectors.
    pub queries: usize,
    /// The dimension in whole vectors, 0 without gradient.
    pub deep: usize,
}

impl Partial {
    pub(super) fn len(&self) -> usize {
        self.queries * (2 + self.deep)
    }
}

pub(super) struct Block<'a> {
    pub dim: usize,
    /// Of all queries; begins at a panel.
    pub queries: Range<usize>,
    /// Of the matrix.
    pub rows: Range<usize>,
    /// The queries over the temperature.
    pub panels: &'a Panels,
    pub positives: Positives<'a>,
    pub bank: &'a [f32],
    pub partial: Partial,
    /// A [`Partial`].
    pub memory: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Block { dim, queries, rows, panels, positives, bank, partial, memory } = self;
        let width = S::LANES * S::TILE_VECTORS;
        let (maxima, rest) = memory.split_at_mut(partial.queries);
        let (sums, weighted) = rest.split_at_mut(partial.queries);
        maxima.fill(LOWEST);
        sums.fill(0.0);
        weighted.fill(0.0);
        let padded = if partial.deep > dim { CHUNK * partial.deep } else { 0 };
        let lens = [CHUNK * width, padded, width];
        let mut scratch = Scratch::new(lens.iter().map(|len| len.next_multiple_of(LINE)).sum());
        let mut rest = &mut scratch[..];
        let [logits, copy, factors] = lens.map(|len| cut(&mut rest, len));
        for start in rows.clone().step_by(CHUNK) {
            let chunk = start..rows.end.min(start + CHUNK);
            let depth = chunk.len();
            let data = &bank[chunk.start * dim..chunk.end * dim];
            let vectors = if padded > 0 {
                pad(s, data, dim, copy, partial.deep);
                (&copy[..], partial.deep)
            } else {
                (data, dim)
            };
            for first in (0..queries.len()).step_by(width) {
                let panel = (queries.start + first) / width;
                let count = width.min(queries.len() - first);
                let stride = panels.vectors(panel) * S::LANES;
                let a = Strided { data, row_stride: dim, k_stride: 1 };
                let dims = Dims::new(depth, dim, stride / S::LANES);
                let logits = &mut logits[..depth * stride];
                if dim == 0 {
                    logits.fill(0.0);
                }
                let b = Panel { data: panels.panel(panel), stride };
                multiply_apart(s, dims, a, b, (logits, stride), false);
                let these = queries.start + first..queries.start + first + count;
                mask(positives, &chunk, these, logits, stride);
                let (maxima, sums) = (&mut maxima[first..], &mut sums[first..]);
                weigh(s, logits, stride, maxima, sums, factors);
                if partial.deep > 0 {
                    let weighted = &mut weighted[first * partial.deep..][..count * partial.deep];
                    let a = Strided { data: logits, row_stride: 1, k_stride: stride };
                    gather(s, a, [count, depth], vectors, factors, weighted, partial.deep);
                }
            }
        }
    }
}

/// Rows of `dim` floats to rows of `deep` floats, a whole number of vectors.
#[inline(always)]
fn pad<S: Simd>(s: S, data: &[f32], dim: usize, copy: &mut [f32], deep: usize) {
    for (from, to) in data.chunks_exact(dim.max(1)).zip(copy.chunks_exact_mut(deep)) {
        for at in (0..deep).step_by(S::LANES) {
            let lanes = S::LANES.min(dim - at);
            // SAFETY: `at + lanes <= dim` in `from`, `at + LANES <= deep` in `to`.
            unsafe {
                let v = load_n(s, from.as_ptr().add(at), lanes);
                s.store(to.as_mut_ptr().add(at), v);
            }
        }
    }
}

/// Takes the positives out of the negatives.
fn mask(
    positives: Positives,
    chunk: &Range<usize>,
    queries: Range<usize>,
    logits: &mut [f32],
    stride: usize,
) {
    let Positives::Rows(rows) = positives else { return };
    for (i, row) in rows[queries].iter().enumerate() {
        if chunk.contains(row) {
            logits[(row - chunk.start) * stride + i] = MASKED;
        }
    }
}

/// Replaces logits `[rows, stride]` by `e^{logit - max}`, carries maxima and sums of each column
/// on, and leaves in `factors` what older weights are to be multiplied with.
#[inline(always)]
fn weigh<S: Simd>(
    s: S,
    logits: &mut [f32],
    stride: usize,
    maxima: &mut [f32],
    sums: &mut [f32],
    factors: &mut [f32],
) {
    assert!(maxima.len() >= stride && sums.len() >= stride && factors.len() >= stride);
    let rows = logits.len() / stride;
    for at in (0..stride).step_by(S::LANES) {
        // SAFETY: `at + LANES <= stride`, and all slices hold at least that, `logits` in each row.
        unsafe {
            let column = logits.as_mut_ptr().add(at);
            let old = s.load(maxima.as_ptr().add(at));
            let mut max = old;
            for row in 0..rows {
                max = s.max(s.load(column.add(row * stride)), max);
            }
            let mut sum = s.splat(0.0);
            for row in 0..rows {
                let p = column.add(row * stride);
                let e = exp(s, s.sub(s.load(p), max));
                s.store(p, e);
                sum = s.add(sum, e);
            }
            let factor = exp(s, s.sub(old, max));
            let total = s.fma(s.load(sums.as_ptr().add(at)), factor, sum);
            s.store(maxima.as_mut_ptr().add(at), max);
            s.store(sums.as_mut_ptr().add(at), total);
            s.store(factors.as_mut_ptr().add(at), factor);
        }
    }
}

/// `weighted = factors * weighted + weights vectors`
#[inline(always)]
fn gather<S: Simd>(
    s: S,
    weights: Strided,
    [count, depth]: [usize; 2],
    (vectors, stride): (&[f32], usize),
    factors: &[f32],
    weighted: &mut [f32],
    deep: usize,
) {
    for (row, factor) in weighted.chunks_exact_mut(deep).zip(factors) {
        for at in (0..deep).step_by(S::LANES) {
            // SAFETY: a row is whole vectors.
            unsafe {
                let p = row.as_mut_ptr().add(at);
                s.store(p, s.mul(s.load(p), s.splat(*factor)));
            }
        }
    }
    let width = S::LANES * S::TILE_VECTORS;
    for first in (0..deep).step_by(width) {
        let dims = Dims::new(count, depth, (deep - first).min(width) / S::LANES);
        let b = Panel { data: &vectors[first..], stride };
        let c = (&mut weighted[first..], deep);
        multiply_apart(s, dims, weights, b, c, true);
    }
}
