//! The ReLU's mask, from whatever array is cheapest to read.

use super::rows::Maps;
use crate::simd::{Simd, load_n};

/// A slice that a pass reads by offset.
///
/// # Safety
/// `at + lanes` is within `data`.
#[inline(always)]
pub(super) unsafe fn load_at<S: Simd>(s: S, data: &[f32], at: usize, lanes: usize) -> S::V {
    debug_assert!(at + lanes <= data.len());
    // SAFETY: the caller says that `at + lanes` is within `data`.
    unsafe { load_n(s, data.as_ptr().add(at), lanes) }
}

/// Where the ReLU let the gradient through.
#[derive(Clone, Copy)]
pub(crate) enum Gate<'a> {
    /// No ReLU.
    Open,
    /// Where the output, given here, is positive.
    Output(&'a [f32]),
    /// Where `y * scale + shift`, `[groups, channels]` each, is positive: one array less to read.
    Affine(&'a [f32], &'a [f32]),
}

impl Gate<'_> {
    /// `d` where the gate is open, else 0.
    ///
    /// # Safety
    /// `at + lanes` elements lie within the output or `y`, whichever the gate reads.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(
        &self,
        s: S,
        d: S::V,
        y: &[f32],
        affine: [S::V; 2],
        (at, lanes): (usize, usize),
    ) -> S::V {
        match self {
            Gate::Open => d,
            // SAFETY: the output is as long as the maps.
            Gate::Output(out) => s.gate(d, unsafe { load_at(s, out, at, lanes) }),
            Gate::Affine(..) => {
                // SAFETY: where this gate is used, `y` is as long as the maps.
                let y = unsafe { load_at(s, y, at, lanes) };
                s.gate(d, s.fma(y, affine[0], affine[1]))
            }
        }
    }

    pub(super) fn widen(&self, maps: &Maps) -> [Vec<f32>; 2] {
        match self {
            Gate::Affine(scale, shift) => [maps.widen(scale), maps.widen(shift)],
            _ => [Vec::new(), Vec::new()],
        }
    }

    /// The scale and shift of channels `at..at + lanes` of what [`Gate::widen`] returned.
    ///
    /// # Safety
    /// They lie within it.
    #[inline(always)]
    pub(super) unsafe fn begin<S: Simd>(
        &self,
        s: S,
        wide: &[Vec<f32>; 2],
        at: usize,
        lanes: usize,
    ) -> [S::V; 2] {
        match self {
            // SAFETY: the caller's `at` lies within the widened values.
            Gate::Affine(..) => unsafe {
                [load_at(s, &wide[0], at, lanes), load_at(s, &wide[1], at, lanes)]
            },
            _ => [s.splat(0.0); 2],
        }
    }

    pub(super) fn check(&self, len: usize) {
        if let Gate::Output(out) = self {
            assert_eq!(out.len(), len, "the output has the shape of its gradient");
        }
    }
}
