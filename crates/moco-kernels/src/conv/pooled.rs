//! Convolution, normalisation, ReLU and max-pool as one operation: the stem of a network whose
//! statistics are fixed.
//!
//! ```text
//!   x ──► rows, padded ──► product ──► affine, ReLU ──► rows of maps ──► max ──► out
//! ```
//! The maps in between are a network's largest, four times what the pool leaves of them. Of these,
//! only the rows under one row of windows exist at a time, in the second-level cache; and the rows of
//! the product are read where they lie in the padded image, without being gathered.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::bn_act::{BnParams, Norm, check_params, conv_bn_act_forward};
use super::gather::depth_blocks;
use super::prepared::{Algorithm, prepared};
use super::sink::Affine;
use super::{ConvShape, PreparedConv};
use crate::Isa;
use crate::gemm::{Dims, IntoSink, Panel, Rows, Runs, Strided, Target, multiply_into};
use crate::norm::Coefficients;
use crate::pool::{MaxRow, PoolShape, max_pool};
use crate::simd::{Kernel, Simd};
use crate::threads::{Disjoint, LINE, Scratch, cut, filled, for_each, odd_lines};
use crate::weights::Weights;

/// Jobs that a batch is cut into, at least, where it has so many rows: each computes the maps' rows
/// at its upper edge again.
const JOBS: usize = 8;

/// `max_pool(relu(bn(conv(x))))`.
///
/// Equal, bit for bit, to the convolution and then the pool.
///
/// # Shapes
/// `x` `[n, h, w, cin]`, `weight` `[cout, cin, k, k]`; `pool` takes the convolution's output. Returns
/// `[n, out_h, out_w, cout]` of the pool.
///
/// # Panics
/// When a slice does not have its shape's length, the shapes do not fit each other, or the pool's
/// window is out of range.
pub fn conv_bn_relu_max_pool(
    isa: Isa,
    shape: &ConvShape,
    pool: &PoolShape,
    x: &[f32],
    weight: Weights<PreparedConv>,
    bn: &BnParams,
) -> Vec<f32> {
    check_params(shape, bn, None);
    pool.check();
    let maps = [shape.n, shape.out_h(), shape.out_w(), shape.cout];
    assert_eq!([pool.n, pool.h, pool.w, pool.c], maps, "{pool:?} takes the output of {shape:?}");
    let isa = isa.for_channels(shape.cout);
    let prepared = prepared(isa, shape, weight);
    let packed = match (prepared.algorithm, &prepared.data, bn.norm) {
        (_, _, Norm::Batch { .. } | Norm::Shared(_)) => None,
        (Algorithm::Direct, Some(packed), _) if is_one_block(isa, shape) => Some(packed),
        _ => None,
    };
    let Some(packed) = packed else {
        let weight = Weights { prepared: Some(&*prepared), ..weight };
        let maps = conv_bn_act_forward(isa, shape, x, weight, bn, None, true, false).out;
        return max_pool(isa, pool, &maps);
    };
    assert_eq!(x.len(), shape.x_len(), "x is [n, h, w, cin] of {shape:?}");
    let norm = bn.fixed();
    let bands = JOBS.div_ceil(shape.n.max(1)).min(pool.out_h());
    let line = pool.out_w() * pool.c;
    // SAFETY: a job writes its own rows, and all rows have a job.
    unsafe {
        filled(pool.out_len(), |out| {
            let out = Disjoint::new(out);
            for_each(shape.n * bands, |job| {
                let image = job / bands;
                let first = |band: usize| band * pool.out_h() / bands;
                let rows = first(job % bands)..first(job % bands + 1);
                let lines = image * pool.out_h() + rows.start..image * pool.out_h() + rows.end;
                let out = out.slice(lines.start * line..lines.end * line);
                isa.run(Band { shape, pool, x, packed, norm: &norm, image, rows, out });
            });
        })
    }
}

/// Whether the gather would sum the product in one go, as is done here: the sums are then the same.
fn is_one_block(isa: Isa, shape: &ConvShape) -> bool {
    depth_blocks(shape.k * shape.k * shape.cin, isa.panel_width()).count() == 1
}

/// Some rows of one image's output.
struct Band<'a> {
    shape: &'a ConvShape,
    pool: &'a PoolShape,
    x: &'a [f32],
    packed: &'a [f32],
    norm: &'a Coefficients,
    image: usize,
    rows: Range<usize>,
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Band<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Band { shape, pool, x, packed, norm, image, rows, out } = self;
        let line = pool.w * pool.c;
        let padded_len = shape.k * padded_pitch(shape);
        let mut memory = Scratch::new(padded_len + pool.k * line + 2 * LINE);
        let mut scratch = &mut *memory;
        let padded = cut(&mut scratch, padded_len);
        let maps = cut(&mut scratch, pool.k * line);
        padded.fill(0.0);
        let mut have = 0..0;
        let out_lines = out.chunks_mut((pool.out_w() * pool.c).max(1));
        for (row, out) in rows.zip(out_lines) {
            let need = pool.rows_under(row);
            let kept = need.start.max(have.start).min(have.end)..have.end;
            maps.copy_within((kept.start - have.start) * line..have.len() * line, 0);
            for y in need.clone().skip(kept.len()) {
                let target = Target::over(&mut maps[(y - need.start) * line..][..line], pool.c);
                let Coefficients { scale, shift, .. } = norm;
                let sink = Affine { target, scale, shift, skip: None, relu: true };
                copy_padded(shape, x, [image, y], padded);
                multiply(s, shape, packed, padded, pool.w, &sink);
            }
            let lines = &maps[..need.len() * line];
            MaxRow::<false> { shape: pool, lines, row, out, positions: &mut [] }.run(s);
            have = need;
        }
    }
}

/// One row of the convolution's output into `sink`, from the padded rows under it.
#[inline(always)]
fn multiply<S: Simd>(
    s: S,
    shape: &ConvShape,
    packed: &[f32],
    padded: &[f32],
    pixels: usize,
    sink: &Affine,
) {
    let &ConvShape { cin, cout, k, stride, .. } = shape;
    let (depth, run) = (k * k * cin, k * cin);
    let a = Strided { data: padded, row_stride: stride * cin, k_stride: 1 };
    let runs = Runs { len: run.max(1), gap: padded_pitch(shape) - run };
    for first in (0..cout).step_by(S::LANES * S::TILE_VECTORS) {
        let vectors = (cout - first).div_ceil(S::LANES).min(S::TILE_VECTORS);
        let b = Panel { data: &packed[first * depth..], stride: vectors * S::LANES };
        let dims = Dims { runs, ..Dims::new(pixels, depth, vectors) };
        multiply_into(s, dims, a, b, &mut IntoSink::new(sink, Rows::From(0), first..cout));
    }
}

/// Floats from one padded row to the next.
fn padded_pitch(shape: &ConvShape) -> usize {
    odd_lines((shape.w + 2 * shape.pad) * shape.cin)
}

/// The rows of `x` under row `y` of the convolution's output, between margins of zeros, which `padded`
/// has already.
fn copy_padded(shape: &ConvShape, x: &[f32], [image, y]: [usize; 2], padded: &mut [f32]) {
    let &ConvShape { h, w, cin, k, stride, pad, .. } = shape;
    for (ky, padded) in padded.chunks_mut(padded_pitch(shape)).enumerate().take(k) {
        let inner = &mut padded[pad * cin..][..w * cin];
        match (y * stride + ky).checked_sub(pad).filter(|&y| y < h) {
            Some(y) => inner.copy_from_slice(&x[(image * h + y) * w * cin..][..w * cin]),
            None => inner.fill(0.0),
        }
    }
}
