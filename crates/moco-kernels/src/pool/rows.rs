//! The kernels of pooling: one output row, input row or image each.

use std::mem::MaybeUninit;

use super::PoolShape;
use crate::simd::{Kernel, Simd, load_n, store_n};

/// One output row of a max-pool.
pub(super) struct MaxRow<'a> {
    pub shape: &'a PoolShape,
    pub x: &'a [f32],
    /// Among all output rows of the batch.
    pub row: usize,
    pub out: &'a mut [MaybeUninit<f32>],
    pub positions: &'a mut [u8],
}

impl Kernel for MaxRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let MaxRow { shape, x, row, out, positions } = self;
        let &PoolShape { h, w, c, k, stride, pad, .. } = shape;
        let (image, oy) = (row / shape.out_h(), row % shape.out_h());
        for ox in 0..shape.out_w() {
            let out = &mut out[ox * c..][..c];
            let positions = &mut positions[ox * c..][..c];
            let mut begun = false;
            for (ky, kx) in (0..k).flat_map(|ky| (0..k).map(move |kx| (ky, kx))) {
                let y = (oy * stride + ky).wrapping_sub(pad);
                let x_at = (ox * stride + kx).wrapping_sub(pad);
                if y >= h || x_at >= w {
                    continue;
                }
                let pixel = &x[((image * h + y) * w + x_at) * c..][..c];
                let position = (ky * k + kx) as u8;
                if begun {
                    larger(pixel, position, out, positions);
                } else {
                    for i in 0..c {
                        out[i].write(pixel[i]);
                    }
                    positions.fill(position);
                    begun = true;
                }
            }
        }
    }
}

/// Takes over the values of `pixel` that exceed `out`, and their position. `out` has been begun.
#[inline(always)]
fn larger(pixel: &[f32], position: u8, out: &mut [MaybeUninit<f32>], positions: &mut [u8]) {
    for i in 0..pixel.len().min(out.len()).min(positions.len()) {
        // SAFETY: the window's first pixel initialised every channel.
        let best = unsafe { out[i].assume_init() };
        let wins = pixel[i] > best || (pixel[i].is_nan() && !best.is_nan());
        out[i].write(if wins { pixel[i] } else { best });
        positions[i] = if wins { position } else { positions[i] };
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
        for x in 0..w {
            let dx = zeroed(&mut dx[x * c..][..c]);
            for (oy, ox) in windows(shape, y, shape.out_h())
                .flat_map(|oy| windows(shape, x, shape.out_w()).map(move |ox| (oy, ox)))
            {
                let ky = y + shape.pad - oy * shape.stride;
                let kx = x + shape.pad - ox * shape.stride;
                let position = (ky * k + kx) as u8;
                let at = ((image * shape.out_h() + oy) * shape.out_w() + ox) * c;
                let (d, p) = (&d_out[at..at + c], &positions[at..at + c]);
                for i in 0..c {
                    dx[i] += if p[i] == position { d[i] } else { 0.0 };
                }
            }
        }
    }
}

#[inline(always)]
fn zeroed(memory: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    memory.fill(MaybeUninit::new(0.0));
    // SAFETY: every element has just been written.
    unsafe { memory.assume_init_mut() }
}

/// The outputs whose windows cover input position `at`, along one axis.
fn windows(shape: &PoolShape, at: usize, outputs: usize) -> std::ops::Range<usize> {
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
