//! One head's matrices, copied to where the register tile wants them.

use super::AttentionShape;
use crate::gemm::{Dims, Panel, Strided, multiply_apart, pack_strip};
use crate::simd::{Simd, load_n, store_n};
use crate::threads::odd_lines;

/// Lengths that follow from the shape and the instruction set.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub tokens: usize,
    pub queries: usize,
    pub head_dim: usize,
    /// Tokens rounded to whole vectors.
    pub wide: usize,
    /// Head dimension rounded to whole vectors.
    pub deep: usize,
    /// Floats from one row of scores to the next.
    pub score_stride: usize,
    /// Queries per block.
    pub block: usize,
}

/// Floats of scores per block: two such blocks are in use backwards, and share L2 with the packed
/// keys and values.
const SCORES: usize = 24 << 10;

impl Layout {
    pub(super) fn new<S: Simd>(shape: &AttentionShape) -> Layout {
        let AttentionShape { tokens, queries, head_dim, .. } = *shape;
        let wide = tokens.next_multiple_of(S::LANES);
        let score_stride = odd_lines(wide);
        let block = (SCORES / score_stride / S::TILE_ROWS).clamp(1, 8) * S::TILE_ROWS;
        Layout {
            tokens,
            queries,
            head_dim,
            wide,
            deep: head_dim.next_multiple_of(S::LANES),
            score_stride,
            block: block.min(queries),
        }
    }

    /// Floats of one block of scores.
    pub(super) fn scores(&self) -> usize {
        self.block * self.score_stride
    }

    /// Floats of a transposed matrix, `[d, T]` in panels.
    pub(super) fn across(&self) -> usize {
        self.head_dim * self.wide
    }

    /// Floats of a matrix of `rows` tokens, `[rows, d]`.
    pub(super) fn along(&self, rows: usize) -> usize {
        rows * self.deep
    }
}

/// One head's queries, keys, values or gradients inside `[B, T, ...]`.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// From the head's first float on.
    pub data: &'a [f32],
    /// Floats from token to token.
    pub stride: usize,
}

impl<'a> Head<'a> {
    /// Part 0, 1 or 2 of the packed queries, keys and values.
    pub(super) fn of_qkv(
        shape: &AttentionShape,
        qkv: &'a [f32],
        job: usize,
        part: usize,
    ) -> Head<'a> {
        Head { data: &qkv[shape.qkv_start(job, part)..], stride: shape.qkv_stride() }
    }

    /// A matrix of the output's layout.
    pub(super) fn of_out(shape: &AttentionShape, out: &'a [f32], job: usize) -> Head<'a> {
        Head { data: &out[shape.out_start(job)..], stride: shape.out_stride() }
    }

    /// Rows from token `first` on, as the product's left operand.
    pub(super) fn rows(&self, first: usize) -> Strided<'a> {
        Strided { data: &self.data[first * self.stride..], row_stride: self.stride, k_stride: 1 }
    }

    /// `factor` times `count` rows from token `first` on, to `[count, deep]` with zeros beyond `d`.
    #[inline(always)]
    pub(super) fn copy<S: Simd>(
        &self,
        s: S,
        layout: &Layout,
        (first, count): (usize, usize),
        factor: f32,
        out: &mut [f32],
    ) {
        let factor = s.splat(factor);
        for (row, out) in out.chunks_exact_mut(layout.deep).take(count).enumerate() {
            let from = &self.data[(first + row) * self.stride..][..layout.head_dim];
            for at in (0..layout.deep).step_by(S::LANES) {
                let lanes = S::LANES.min(layout.head_dim - at);
                // SAFETY: `at + lanes <= d` in `from`, and `at + LANES <= deep` in `out`.
                unsafe {
                    let v = load_n(s, from.as_ptr().add(at), lanes);
                    s.store(out.as_mut_ptr().add(at), s.mul(v, factor));
                }
            }
        }
    }

    /// The transpose, in panels `[d, width]`.
    #[inline(always)]
    pub(super) fn transpose<S: Simd>(&self, s: S, layout: &Layout, out: &mut [f32]) {
        let width = S::LANES * S::TILE_VECTORS;
        for first in (0..layout.wide).step_by(width) {
            let stride = width.min(layout.wide - first);
            let count = stride.min(layout.tokens - first);
            let panel = &mut out[first * layout.head_dim..][..stride * layout.head_dim];
            pack_strip(s, self.rows(0), (first, count), layout.head_dim, panel, stride);
        }
    }
}

/// `c[row][token] = Σ_k a(row, k) packed[k][token]` for a transposed matrix.
#[inline(always)]
pub(super) fn times_across<S: Simd>(
    s: S,
    layout: &Layout,
    a: Strided,
    rows: usize,
    packed: &[f32],
    c: &mut [f32],
) {
    let depth = layout.head_dim;
    let width = S::LANES * S::TILE_VECTORS;
    for first in (0..layout.wide).step_by(width) {
        let stride = width.min(layout.wide - first);
        let dims = Dims::new(rows, depth, stride / S::LANES);
        let c = (&mut c[first..], layout.score_stride);
        let b = Panel { data: &packed[first * depth..], stride };
        multiply_apart(s, dims, a, b, c, false);
    }
}

/// `c[row] (+)= Σ_k a(row, k) b[k]` for a matrix `b` of `[depth, deep]`.
#[inline(always)]
pub(super) fn times_along<S: Simd>(
    s: S,
    layout: &Layout,
    a: Strided,
    [rows, depth]: [usize; 2],
    b: &[f32],
    c: &mut [f32],
    accumulate: bool,
) {
    let width = S::LANES * S::TILE_VECTORS;
    for first in (0..layout.deep).step_by(width) {
        let vectors = (layout.deep - first).min(width) / S::LANES;
        let dims = Dims::new(rows, depth, vectors);
        multiply_apart(
            s,
            dims,
            a,
            Panel { data: &b[first..], stride: layout.deep },
            (&mut c[first..], layout.deep),
            accumulate,
        );
    }
}

/// Copies `[rows, deep]` times `factor(row)` to rows of `stride` floats, of which `d` are written.
///
/// # Safety
/// The rows are writable at `out`.
#[inline(always)]
pub(super) unsafe fn write_rows<S: Simd>(
    s: S,
    layout: &Layout,
    from: &[f32],
    factors: Factors,
    out: *mut f32,
    stride: usize,
) {
    for (row, from) in from.chunks_exact(layout.deep).enumerate() {
        let factor = s.splat(match factors {
            Factors::All(factor) => factor,
            Factors::Each(factors) => factors[row],
        });
        for at in (0..layout.head_dim).step_by(S::LANES) {
            let lanes = S::LANES.min(layout.head_dim - at);
            // SAFETY: `at + LANES <= deep` in `from`; the caller's promise for `out`.
            unsafe {
                let v = s.mul(s.load(from.as_ptr().add(at)), factor);
                store_n(s, out.add(row * stride + at), v, lanes);
            }
        }
    }
}

/// What rows are multiplied with.
#[derive(Clone, Copy)]
pub(super) enum Factors<'a> {
    All(f32),
    Each(&'a [f32]),
}
