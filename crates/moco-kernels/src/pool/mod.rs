//! Pooling in NHWC: max with remembered positions, and the global average.

mod rows;
mod scalar;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::Isa;
use crate::threads::{Disjoint, filled, for_each_chunk};
pub(crate) use rows::MaxRow;
use rows::{AverageImage, AverageSpread, MaxBackward};

/// A square max-pool over NHWC maps, as `torch.nn.MaxPool2d` defines it (padding never wins, floor
/// division).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Images in the batch.
    pub n: usize,
    /// Input rows.
    pub h: usize,
    /// Input columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Window side, 1 to 15.
    pub k: usize,
    /// Step between windows, at least 1.
    pub stride: usize,
    /// Rows and columns of padding on each side, at most `k / 2`.
    pub pad: usize,
}

impl PoolShape {
    /// Output rows.
    pub fn out_h(&self) -> usize {
        self.out_side(self.h)
    }

    /// Output columns.
    pub fn out_w(&self) -> usize {
        self.out_side(self.w)
    }

    /// Floats of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Floats of the output.
    pub fn out_len(&self) -> usize {
        self.n * self.out_h() * self.out_w() * self.c
    }

    fn out_side(&self, side: usize) -> usize {
        let padded = side + 2 * self.pad;
        if padded < self.k { 0 } else { (padded - self.k) / self.stride + 1 }
    }

    /// The map rows under output row `row`.
    pub(crate) fn rows_under(&self, row: usize) -> Range<usize> {
        let taps = rows::inside(row * self.stride, self.pad, self.k, self.h);
        row * self.stride + taps.start - self.pad..row * self.stride + taps.end - self.pad
    }

    pub(crate) fn check(&self) {
        assert!(
            (1..16).contains(&self.k) && self.stride > 0,
            "window 1 to 15, stride >= 1: {self:?}"
        );
        assert!(2 * self.pad <= self.k, "padding is at most half the window: {self:?}");
    }
}

/// The largest value of each window. A NaN in a window wins, as in PyTorch.
///
/// # Shapes
/// `x` `[n, h, w, c]`; returns `[n, out_h, out_w, c]`.
///
/// # Panics
/// When `x` does not have its shape's length or the window is out of range.
pub fn max_pool(isa: Isa, shape: &PoolShape, x: &[f32]) -> Vec<f32> {
    max_rows::<false>(isa, shape, x, &mut [])
}

/// [`max_pool`], and where in its window each value is (`ky * k + kx`, the first of equals), which
/// [`max_pool_backward`] needs.
///
/// # Shapes
/// `x` `[n, h, w, c]`; returns `[n, out_h, out_w, c]` twice.
///
/// # Panics
/// As [`max_pool`].
pub fn max_pool_forward(isa: Isa, shape: &PoolShape, x: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let mut positions = vec![0; shape.out_len()];
    (max_rows::<true>(isa, shape, x, &mut positions), positions)
}

/// `positions` has one place per output, or none.
fn max_rows<const POSITIONS: bool>(
    isa: Isa,
    shape: &PoolShape,
    x: &[f32],
    positions: &mut [u8],
) -> Vec<f32> {
    shape.check();
    assert_eq!(x.len(), shape.x_len(), "x is [n, h, w, c] of {shape:?}");
    let row = shape.out_w() * shape.c;
    let places = if POSITIONS { row } else { 0 };
    let shared = Disjoint::new(positions);
    // SAFETY: a job writes one output row of both, and all rows have a job.
    unsafe {
        filled(shape.out_len(), |out| {
            for_each_chunk(out, row, |i, out| {
                let positions = shared.slice(i * places..(i + 1) * places);
                let (image, row) = (i / shape.out_h(), i % shape.out_h());
                let Range { start, end } = shape.rows_under(row);
                let line = |y: usize| (image * shape.h + y) * shape.w * shape.c;
                let lines = &x[line(start)..line(end)];
                isa.run(MaxRow::<POSITIONS> { shape, lines, row, out, positions });
            });
        })
    }
}

/// `dx` of [`max_pool_forward`] from `d_out` and the positions that it returned.
///
/// # Shapes
/// `d_out` and `positions` `[n, out_h, out_w, c]`; returns `[n, h, w, c]`.
///
/// # Panics
/// When a slice does not have its shape's length.
pub fn max_pool_backward(isa: Isa, shape: &PoolShape, d_out: &[f32], positions: &[u8]) -> Vec<f32> {
    shape.check();
    assert_eq!(d_out.len(), shape.out_len(), "d_out is [n, out_h, out_w, c] of {shape:?}");
    assert_eq!(positions.len(), d_out.len(), "one position per output");
    // SAFETY: a job writes one input row, and all rows have a job.
    unsafe {
        filled(shape.x_len(), |dx| {
            for_each_chunk(dx, shape.w * shape.c, |row, dx| {
                isa.run(MaxBackward { shape, d_out, positions, row, dx });
            });
        })
    }
}

/// The mean over each image's pixels. Summed in f32 by eight partial sums: error about `pixels / 8
/// * 2^-24`.
///
/// # Shapes
/// `x` `[n, pixels, c]`; returns `[n, c]`.
///
/// # Panics
/// When `x` does not have its shape's length.
pub fn average_pool_forward(isa: Isa, [n, pixels, c]: [usize; 3], x: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), n * pixels * c, "x is [n, pixels, c]");
    // SAFETY: a job writes one image's means, and all images have a job.
    unsafe {
        filled(n * c, |out| {
            for_each_chunk(out, c, |image, out| {
                let x = &x[image * pixels * c..][..pixels * c];
                isa.run(AverageImage { x, pixels, out });
            });
        })
    }
}

/// `dx` of [`average_pool_forward`].
///
/// # Shapes
/// `d_out` `[n, c]`; returns `[n, pixels, c]`.
///
/// # Panics
/// When `d_out` does not have its shape's length.
pub fn average_pool_backward(isa: Isa, [n, pixels, c]: [usize; 3], d_out: &[f32]) -> Vec<f32> {
    assert_eq!(d_out.len(), n * c, "d_out is [n, c]");
    // SAFETY: a job writes one image, and all images have a job.
    unsafe {
        filled(n * pixels * c, |dx| {
            for_each_chunk(dx, pixels * c, |image, dx| {
                let d_out = &d_out[image * c..][..c];
                isa.run(AverageSpread { d_out, pixels, dx });
            });
        })
    }
}
