//! The forward pass of BatchNorm, residual addition and ReLU.

use std::mem::MaybeUninit;

use super::gate::load_at;
use super::rows::{Maps, RowOp};
use crate::Isa;
use crate::simd::{Simd, load_n, store_n};

/// What is added before the ReLU.
#[derive(Clone, Copy)]
pub(crate) enum Skip<'a> {
    /// Maps as they are.
    Maps(&'a [f32]),
    /// `y * scale + shift`, with `[groups, channels]` values: maps that BatchNorm has yet to
    /// normalise.
    Normalised { y: &'a [f32], scale: &'a [f32], shift: &'a [f32] },
}

impl<'a> Skip<'a> {
    fn maps(&self) -> &'a [f32] {
        match self {
            Skip::Maps(maps) | Skip::Normalised { y: maps, .. } => maps,
        }
    }

    fn affine(&self, maps: &Maps) -> OwnAffine {
        match self {
            Skip::Maps(_) => None,
            Skip::Normalised { scale, shift, .. } => Some([maps.widen(scale), maps.widen(shift)]),
        }
    }
}

/// `out = relu?(y * scale + shift + skip?)`.
pub(crate) struct Normalise<'a> {
    /// `[groups, channels]`
    pub scale: &'a [f32],
    /// `[groups, channels]`
    pub shift: &'a [f32],
    pub skip: Option<Skip<'a>>,
    pub relu: bool,
}

impl Normalise<'_> {
    /// Writes all of `out`.
    pub(crate) fn run(&self, isa: Isa, maps: &Maps, y: &[f32], out: &mut [MaybeUninit<f32>]) {
        assert!(y.len() == maps.len() && out.len() == maps.len());
        // SAFETY: both are as long as the maps and do not overlap.
        unsafe { self.run_raw(isa, maps, y.as_ptr(), out.as_mut_ptr().cast()) }
    }

    /// Replaces `y` by the output.
    pub(crate) fn run_in_place(&self, isa: Isa, maps: &Maps, y: &mut [f32]) {
        assert!(y.len() == maps.len());
        let y = y.as_mut_ptr();
        // SAFETY: as long as the maps; each element is read and then written by one thread.
        unsafe { self.run_raw(isa, maps, y, y) }
    }

    /// # Safety
    /// `maps.len()` floats are readable at `y` and writable at `out`; they are the same or do not
    /// overlap.
    unsafe fn run_raw(&self, isa: Isa, maps: &Maps, y: *const f32, out: *mut f32) {
        let (scale, shift) = (maps.widen(self.scale), maps.widen(self.shift));
        let skip = self.skip.map(|skip| (skip.maps(), skip.affine(maps)));
        assert!(skip.as_ref().is_none_or(|(skip, _)| skip.len() == maps.len()));
        maps.run(isa, &NormaliseRows { y, out, scale, shift, skip, relu: self.relu });
    }
}

/// The skip's own scale and shift, if it has any.
type OwnAffine = Option<[Vec<f32>; 2]>;

struct NormaliseRows<'a> {
    y: *const f32,
    out: *mut f32,
    scale: Vec<f32>,
    shift: Vec<f32>,
    skip: Option<(&'a [f32], OwnAffine)>,
    relu: bool,
}

// SAFETY: the pointers are used in `step` alone, whose callers promise that threads handle
// different elements.
unsafe impl Sync for NormaliseRows<'_> {}

impl RowOp for NormaliseRows<'_> {
    /// Scale and shift, and those of the skip.
    type State<S: Simd> = [S::V; 4];

    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, s: S, _: usize, at: usize, lanes: usize) -> [S::V; 4] {
        // SAFETY: the caller says that `at + lanes` lies in the values per channel.
        let load = |values: &[f32]| unsafe { load_at(s, values, at, lanes) };
        let unused = s.splat(0.0);
        let [scale, shift] = match &self.skip {
            Some((_, Some([scale, shift]))) => [load(scale), load(shift)],
            _ => [unused, unused],
        };
        [load(&self.scale), load(&self.shift), scale, shift]
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.y.wrapping_add(at));
        if let Some((skip, _)) = &self.skip {
            s.prefetch(skip.as_ptr().wrapping_add(at));
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd>(&self, s: S, state: &mut [S::V; 4], at: usize, lanes: usize) {
        // SAFETY: the caller says that `at + lanes` lies in the maps, which have one length, and that no
        // other thread handles these elements.
        unsafe {
            let mut z = s.fma(load_n(s, self.y.add(at), lanes), state[0], state[1]);
            if let Some((skip, affine)) = &self.skip {
                let mut skip = load_at(s, skip, at, lanes);
                if affine.is_some() {
                    skip = s.fma(skip, state[2], state[3]);
                }
                z = s.add(z, skip);
            }
            if self.relu {
                z = s.relu(z);
            }
            store_n(s, self.out.add(at), z, lanes);
        }
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, _: S, _: [S::V; 4], _: usize, _: usize, _: usize) {}
}
