//! The path for any shape: gather the pixels under each output point into rows, multiply by the
//! packed weights.
//!
//! Forwards a point is an output pixel and its taps are the kernel's. The data gradient at stride
//! `s` splits the input pixels into `s * s` classes by their position modulo `s`; within a class it
//! is again a gather with step 1 over the output's gradient, with those taps of the kernel that
//! reach the class, so nothing is multiplied by zero.
//!
//! A row of the gathered matrix costs one copy per kernel row (in NHWC neighbouring taps are
//! neighbours in memory) and is read once per 32 output channels, so gathering is a few percent of
//! the time.

use super::shape::{Span, spans, units};
use super::sink::{Channels, Sink};
use crate::Isa;
use crate::gemm::{Dims, Strided, multiply};
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{Scratch, cut, for_each, odd_lines};

/// A gather over NHWC maps followed by a matrix product.
#[derive(Clone)]
pub(crate) struct Gather<'a> {
    pub src: &'a [f32],
    /// Rows, columns and channels of the source maps.
    pub src_dims: [usize; 3],
    pub images: usize,
    /// BatchNorm groups, for the statistics of the sink; 1 when there are none.
    pub groups: usize,
    /// Output points per image: rows and columns.
    pub points: [usize; 2],
    /// Distance in the source between neighbouring points.
    pub step: usize,
    /// Runs of taps that are neighbours in a source row, in the order of the packed weights.
    pub runs: Vec<Run>,
    pub outputs: usize,
    /// Where point `(y, x)` lies in the destination.
    pub dst: Placement,
}

/// `taps` neighbouring source pixels, the first at offset `(y, x)` from a point's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub y: isize,
    pub x: isize,
    pub taps: usize,
}

/// Point `(y, x)` is pixel `(y * step + first_y, x * step + first_x)` of a map with these rows and
/// columns.
#[derive(Clone, Copy)]
pub(crate) struct Placement {
    pub rows: usize,
    pub cols: usize,
    pub step: usize,
    pub first_y: usize,
    pub first_x: usize,
}

impl Placement {
    #[inline(always)]
    fn pixel(&self, image: usize, y: usize, x: usize) -> usize {
        (image * self.rows + y * self.step + self.first_y) * self.cols
            + x * self.step
            + self.first_x
    }
}

/// Depth of a block: 256 rows of a 32-wide panel are 32 KiB, two thirds of a first-level cache.
const DEPTH_BLOCK: usize = 256;
const MAX_ROWS: usize = 240;

impl Gather<'_> {
    /// Spans of output points, one per job.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let per_image = self.points[0] * self.points[1];
        // About 384 KiB of gathered rows, in multiples of every tile height, and at least 16 jobs
        // if there is work for them.
        let by_cache = (96 << 10) / odd_lines(self.depth());
        let by_jobs = (self.images * per_image).div_ceil(16);
        let rows = by_cache.min(by_jobs).next_multiple_of(24).clamp(24, MAX_ROWS);
        spans(self.images, self.groups, per_image, rows)
    }

    fn depth(&self) -> usize {
        self.runs.iter().map(|run| run.taps).sum::<usize>() * self.src_dims[2]
    }

    /// Runs all jobs. `packed` comes from [`super::pack::pack`] with the same taps.
    ///
    /// # Panics
    /// When `src` or `packed` is shorter than the shape says.
    pub(crate) fn run(&self, isa: Isa, packed: &[f32], spans: &[Span], sink: &impl Sink) {
        let [h, w, c] = self.src_dims;
        assert!(self.src.len() >= self.images * h * w * c);
        assert!(packed.len() >= super::pack::packed_len(isa, self.outputs, self.depth()));
        for_each(spans.len(), |job| {
            isa.run(Job { gather: self, packed, span: spans[job], job, sink });
        });
    }

    /// Copies the source pixels under point `(y, x)` of `image` to `row`.
    #[inline(always)]
    fn fill_row<S: Simd>(&self, s: S, image: usize, y: usize, x: usize, row: &mut [f32]) {
        let [h, w, c] = self.src_dims;
        let mut at = 0;
        for run in &self.runs {
            let len = run.taps * c;
            let out = &mut row[at..at + len];
            at += len;
            let src_y = (y * self.step) as isize + run.y;
            let first = (x * self.step) as isize + run.x;
            let left = first.clamp(0, w as isize);
            let right = (first + run.taps as isize).clamp(left, w as isize);
            if src_y < 0 || src_y >= h as isize || left == right {
                out.fill(0.0);
                continue;
            }
            let from = ((image * h + src_y as usize) * w + left as usize) * c;
            let count = (right - left) as usize * c;
            let skipped = (left - first).unsigned_abs() * c;
            if count < len {
                out.fill(0.0);
            }
            copy(s, &self.src[from..from + count], &mut out[skipped..skipped + count]);
        }
    }
}

/// A copy without the call: most runs are a few vectors long.
#[inline(always)]
fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    let len = from.len().min(to.len());
    let mut at = 0;
    while at < len {
        let lanes = S::LANES.min(len - at);
        // SAFETY: `at + lanes <= len`, the shorter of both lengths.
        unsafe {
            let v = load_n(s, from.as_ptr().add(at), lanes);
            store_n(s, to.as_mut_ptr().add(at), v, lanes);
        }
        at += lanes;
    }
}

struct Job<'a, K> {
    gather: &'a Gather<'a>,
    packed: &'a [f32],
    span: Span,
    job: usize,
    sink: &'a K,
}

impl<K: Sink> Kernel for Job<'_, K> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Job { gather, packed, span, job, sink } = self;
        let rows = span.end - span.start;
        let depth = gather.depth();
        let pitch = odd_lines(depth);
        let sums_pitch = odd_lines(gather.outputs.next_multiple_of(S::LANES));
        let mut memory = Scratch::new(rows * (pitch + sums_pitch));
        let mut scratch = &mut *memory;
        let gathered = cut(&mut scratch, rows * pitch);
        let sums = cut(&mut scratch, rows * sums_pitch);
        let mut pixels = [0; MAX_ROWS];
        let [point_rows, point_cols] = gather.points;
        let points = units(span, gather.groups, point_rows * point_cols);
        for (row, (image, point)) in points.enumerate() {
            let (y, x) = (point / point_cols, point % point_cols);
            pixels[row] = gather.dst.pixel(image, y, x);
            gather.fill_row(s, image, y, x, &mut gathered[row * pitch..][..depth]);
        }
        if depth == 0 {
            sums.fill(0.0);
        }
        product(s, rows, depth, gather.outputs, (gathered, pitch), packed, (sums, sums_pitch));
        emit(s, gather.outputs, &pixels[..rows], (sums, sums_pitch), job, sink);
    }
}

#[inline(always)]
fn product<S: Simd>(
    s: S,
    rows: usize,
    depth: usize,
    outputs: usize,
    (gathered, pitch): (&[f32], usize),
    packed: &[f32],
    (sums, sums_pitch): (&mut [f32], usize),
) {
    let all_vectors = outputs.div_ceil(S::LANES);
    for first in (0..depth).step_by(DEPTH_BLOCK) {
        let block = DEPTH_BLOCK.min(depth - first);
        let mut vector = 0;
        while vector < all_vectors {
            let vectors = S::TILE_VECTORS.min(all_vectors - vector);
            let width = vectors * S::LANES;
            let panel = &packed[vector * S::LANES * depth..][..width * depth];
            let a = Strided { data: &gathered[first..], row_stride: pitch, k_stride: 1 };
            let b = (&panel[first * width..], width);
            let c = (&mut sums[vector * S::LANES..], sums_pitch);
            multiply(s, Dims { rows, depth: block, vectors }, a, b, c, first > 0);
            vector += vectors;
        }
    }
}

#[inline(always)]
fn emit<S: Simd, K: Sink>(
    s: S,
    outputs: usize,
    pixels: &[usize],
    (sums, pitch): (&[f32], usize),
    job: usize,
    sink: &K,
) {
    assert!(pixels.len() * pitch <= sums.len() && outputs.next_multiple_of(S::LANES) <= pitch);
    for first in (0..outputs).step_by(S::LANES) {
        let at = Channels { first, lanes: S::LANES.min(outputs - first) };
        // SAFETY: row and channel lie in `sums` by the assertion; the pixels are this job's own.
        unsafe {
            let mut state = sink.begin(s, at, s.load(sums.as_ptr().add(first)));
            for (row, &pixel) in pixels.iter().enumerate() {
                let value = s.load(sums.as_ptr().add(row * pitch + first));
                sink.put(s, &mut state, pixel, at, value);
            }
            sink.end(s, state, job, at);
        }
    }
}
