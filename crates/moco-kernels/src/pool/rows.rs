//! The kernels of pooling: one output row, input row or image each.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::PoolShape;
use crate::simd::{Kernel, Simd, load_n, store_n};

/// One output row of a max-pool, with or without the places of the maxima.
pub(crate) struct MaxRow<'a, const POSITIONS: bool> {
    pub shape: &'a PoolShape,
    /// The map rows under it, [`PoolShape::rows_under`].
    pub lines: &'a [f32],
    /// Among the output rows of its image.
    pub row: usize,
    pub out: &'a mut [MaybeUninit<f32>],
    /// As long as `out`, or empty.
    pub positions: &'a mut [u8],
}

impl<const POSITIONS: bool> Kernel for MaxRow<'_, POSITIONS> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let MaxRow { shape, lines, row, out, positions } = self;
        let &PoolShape { w, c, k, stride, pad, .. } = shape;
        let rows = inside(row * stride, pad, k, shape.h);
        for ox in 0..shape.out_w() {
            let columns = inside(ox * stride, pad, k, w);
            for first in blocks(c) {
                let n = BLOCK.min(c - first);
                let best = Best::of(
                    k,
                    [rows.clone(), columns.clone()],
                    #[inline(always)]
                    |ky, kx| {
                        let (y, x) = (ky - rows.start, ox * stride + kx - pad);
                        let at = (y * w + x) * c + first;
                        block(&lines[at..at + n])
                    },
                );
                let to = ox * c + first;
                for i in 0..n {
                    out[to + i].write(best.values[i]);
                    if POSITIONS {
                        positions[to + i] = best.positions[i] as u8;
                    }
                }
            }
        }
    }
}

/// Channels that are handled together in registers.
const BLOCK: usize = 16;

fn blocks(channels: usize) -> impl Iterator<Item = usize> {
    (0..channels).step_by(BLOCK)
}

/// Up to a block of values, zeros behind them.
#[inline(always)]
fn block<T: Copy + Default>(values: &[T]) -> [T; BLOCK] {
    if let Ok(values) = values.try_into() {
        return values;
    }
    let mut out = [T::default(); BLOCK];
    out[..values.len()].copy_from_slice(values);
    out
}

/// The taps of a window that begins `pad` before `start` which lie within `0..size`.
pub(super) fn inside(start: usize, pad: usize, k: usize, size: usize) -> Range<usize> {
    pad.saturating_sub(start)..k.min((size + pad).saturating_sub(start))
}

/// The largest values so far, and where in the window they are.
struct Best {
    values: [f32; BLOCK],
    positions: [u32; BLOCK],
}

impl Best {
    /// Over these rows and columns of a window of side `k`, the first of equals.
    #[inline(always)]
    fn of(
        k: usize,
        [rows, columns]: [Range<usize>; 2],
        pixel: impl Fn(usize, usize) -> [f32; BLOCK],
    ) -> Best {
        // Where all are the least there is, it is the first.
        let first = (rows.start * k + columns.start) as u32;
        let mut best = Best { values: [f32::NEG_INFINITY; BLOCK], positions: [first; BLOCK] };
        for ky in rows {
            for kx in columns.clone() {
                best.take_larger(&pixel(ky, kx), (ky * k + kx) as u32);
            }
        }
        best
    }

    #[inline(always)]
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "one comparison that is true of a NaN")]
    fn take_larger(&mut self, pixel: &[f32; BLOCK], position: u32) {
        for i in 0..BLOCK {
            let best = self.values[i];
            // Larger, or the first that is no number.
            let wins = !(pixel[i] <= best) & !best.is_nan();
            self.values[i] = if wins { pixel[i] } else { best };
            self.positions[i] = if wins { position } else { self.positions[i] };
        }
    }
}

/// One input row of a max-pool's gradient: gathers from the windows that cover it.
pub(super) struct MaxBackward<'a> {
    pub shape: &'a PoolShape,
    pub d_out: &'a [f32],
    pub positions: &'a [u8],
    /// Among all input rows of the batch.
    pub row: usize,
    pub dx: &'a mut [MaybeUninit<f32>],
}

impl Kernel for MaxBackward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let MaxBackward { shape, d_out, positions, row, dx } = self;
        let &PoolShape { h, w, c, k, .. } = shape;
        let (image, y) = (row / h, row % h);
        let rows = windows(shape, y, shape.out_h());
        for x in 0..w {
            let columns = windows(shape, x, shape.out_w());
            for first in blocks(c) {
                let n = BLOCK.min(c - first);
                let mut sums = [0.0; BLOCK];
                for oy in rows.clone() {
                    for ox in columns.clone() {
                        let ky = y + shape.pad - oy * shape.stride;
                        let kx = x + shape.pad - ox * shape.stride;
                        let position = (ky * k + kx) as u8;
                        let at = ((image * shape.out_h() + oy) * shape.out_w() + ox) * c + first;
                        let (d, p) = (block(&d_out[at..at + n]), block(&positions[at..at + n]));
                        for i in 0..BLOCK {
                            sums[i] += if p[i] == position { d[i] } else { 0.0 };
                        }
                    }
                }
                for (dx, sum) in dx[x * c + first..][..n].iter_mut().zip(sums) {
                    dx.write(sum);
                }
            }
        }
    }
}

/// The outputs whose windows cover input position `at`, along one axis.
fn windows(shape: &PoolShape, at: usize, outputs: usize) -> Range<usize> {
    let reach = at + shape.pad;
    let first = (reach + 1).saturating_sub(shape.k).div_ceil(shape.stride);
    first..outputs.min(reach / shape.stride + 1)
}

/// The mean over one image's pixels.
pub(super) struct AverageImage<'a> {
    pub x: &'a [f32],
    pub pixels: usize,
    pub out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for AverageImage<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const SUMS: usize = 8;
        let AverageImage { x, pixels, out } = self;
        let c = out.len();
        assert!(x.len() >= pixels * c);
        let scale = s.splat(if pixels == 0 { 0.0 } else { 1.0 / pixels as f32 });
        for first in (0..c).step_by(S::LANES) {
            let lanes = S::LANES.min(c - first);
            let mut sums = [s.splat(0.0); SUMS];
            for pixel in 0..pixels {
                // SAFETY: `pixel * c + first + lanes <= pixels * c`.
                let v = unsafe { load_n(s, x.as_ptr().add(pixel * c + first), lanes) };
                sums[pixel % SUMS] = s.add(sums[pixel % SUMS], v);
            }
            for half in [4, 2, 1] {
                for i in 0..half {
                    sums[i] = s.add(sums[i], sums[i + half]);
                }
            }
            // SAFETY: `first + lanes <= c`.
            unsafe {
                store_n(s, out.as_mut_ptr().cast::<f32>().add(first), s.mul(sums[0], scale), lanes)
            };
        }
    }
}

/// One image's share of the average's gradient.
pub(super) struct AverageSpread<'a> {
    pub d_out: &'a [f32],
    pub pixels: usize,
    pub dx: &'a mut [MaybeUninit<f32>],
}

impl Kernel for AverageSpread<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let scale = 1.0 / self.pixels as f32;
        for pixel in self.dx.chunks_mut(self.d_out.len().max(1)) {
            for (dx, d) in pixel.iter_mut().zip(self.d_out) {
                dx.write(d * scale);
            }
        }
    }
}
