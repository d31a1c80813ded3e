//! The two backward passes of BatchNorm, residual addition and ReLU: sums, then the gradient.

use std::mem::MaybeUninit;

use super::gate::{Gate, load_at};
use super::rows::{Maps, RowOp};
use crate::Isa;
use crate::simd::{Simd, load_n, store_n};
use crate::threads::Disjoint;

/// `Σ dz` and `Σ dz (y - mean)` per group and channel; optionally writes `dz`.
pub(crate) struct Sums<'a> {
    pub d_out: &'a [f32],
    pub gate: Gate<'a>,
    /// The pre-normalisation output and its mean `[groups, channels]`; without them the second sum
    /// is zero.
    pub centred: Option<(&'a [f32], &'a [f32])>,
}

impl Sums<'_> {
    /// `[groups, channels]` each, in f64. With `dz`, all of it is written.
    pub(crate) fn run(
        &self,
        isa: Isa,
        maps: &Maps,
        dz: Option<&mut [MaybeUninit<f32>]>,
    ) -> [Vec<f64>; 2] {
        let len = maps.len();
        assert_eq!(self.d_out.len(), len);
        assert!(self.centred.is_none_or(|(y, _)| y.len() == len));
        assert!(dz.as_ref().is_none_or(|dz| dz.len() == len));
        assert!(!matches!(self.gate, Gate::Affine(..)) || self.centred.is_some());
        self.gate.check(len);
        let row = 2 * maps.groups * maps.width();
        let mut partial = vec![0.0; maps.jobs() * row];
        let op = SumRows {
            sums: self,
            affine: self.gate.widen(maps),
            mean: self.centred.map(|(_, mean)| maps.widen(mean)).unwrap_or_default(),
            dz: dz.map(|dz| dz.as_mut_ptr().cast()),
            partial: Disjoint::new(&mut partial),
            half: row / 2,
        };
        maps.run(isa, &op);
        maps.fold_sums(&partial)
    }
}

impl Maps {
    /// `[jobs, 2, groups, width]` in f32 to two sums of `[groups, channels]` in f64.
    fn fold_sums(&self, partial: &[f32]) -> [Vec<f64>; 2] {
        let channels = self.channels();
        let half = self.groups * self.width();
        [0, 1].map(|which| {
            let mut sums = vec![0.0; self.groups * channels];
            for job in partial.chunks(2 * half) {
                for (i, &value) in job[which * half..][..half].iter().enumerate() {
                    let (group, lane) = (i / self.width(), i % self.width());
                    sums[group * channels + lane % channels] += f64::from(value);
                }
            }
            sums
        })
    }
}

struct SumRows<'a> {
    sums: &'a Sums<'a>,
    affine: [Vec<f32>; 2],
    mean: Vec<f32>,
    dz: Option<*mut f32>,
    /// `[jobs, 2, groups, width]`
    partial: Disjoint<'a, f32>,
    half: usize,
}

// SAFETY: `dz` is written in `step` alone, whose callers promise that threads handle different
// elements.
unsafe impl Sync for SumRows<'_> {}

/// What [`SumRows`] keeps in registers.
#[derive(Clone, Copy)]
struct SumState<V> {
    affine: [V; 2],
    mean: V,
    sum: V,
    product: V,
}

impl RowOp for SumRows<'_> {
    type State<S: Simd> = SumState<S::V>;

    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, s: S, job: usize, at: usize, lanes: usize) -> Self::State<S> {
        let start = job * 2 * self.half + at;
        // SAFETY: the caller's `at` lies within the widened values; the partial sums are this
        // job's.
        unsafe {
            SumState {
                affine: self.sums.gate.begin(s, &self.affine, at, lanes),
                mean: match self.sums.centred {
                    Some(_) => load_at(s, &self.mean, at, lanes),
                    None => s.splat(0.0),
                },
                sum: load_n(s, self.partial.slice(start..start + lanes).as_ptr(), lanes),
                product: {
                    let start = start + self.half;
                    load_n(s, self.partial.slice(start..start + lanes).as_ptr(), lanes)
                },
            }
        }
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.sums.d_out.as_ptr().wrapping_add(at));
        if let Some((y, _)) = self.sums.centred {
            s.prefetch(y.as_ptr().wrapping_add(at));
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd>(&self, s: S, state: &mut Self::State<S>, at: usize, lanes: usize) {
        // SAFETY: the caller says that `at + lanes` lies in the maps, which have one length.
        unsafe {
            let y = if let Some((y, _)) = self.sums.centred { y } else { &[] };
            let d = load_at(s, self.sums.d_out, at, lanes);
            let dz = self.sums.gate.apply(s, d, y, state.affine, (at, lanes));
            state.sum = s.add(state.sum, dz);
            if self.sums.centred.is_some() {
                let centred = s.sub(load_at(s, y, at, lanes), state.mean);
                state.product = s.fma(dz, centred, state.product);
            }
            if let Some(out) = self.dz {
                store_n(s, out.add(at), dz, lanes);
            }
        }
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(
        &self,
        s: S,
        state: Self::State<S>,
        job: usize,
        at: usize,
        lanes: usize,
    ) {
        let start = job * 2 * self.half + at;
        // SAFETY: the partial sums are this job's.
        unsafe {
            let sum = self.partial.slice(start..start + lanes);
            store_n(s, sum.as_mut_ptr(), state.sum, lanes);
            let product = self.partial.slice(start + self.half..start + self.half + lanes);
            store_n(s, product.as_mut_ptr(), state.product, lanes);
        }
    }
}

/// `dy = a dz + b (y - mean) + c` with `a`, `b`, `c` and `mean` per group and channel.
pub(crate) struct Gradient<'a> {
    pub d_out: &'a [f32],
    pub gate: Gate<'a>,
    pub a: &'a [f32],
    /// `y`, `mean`, `b` and `c`; without them `dy = a dz`.
    pub centred: Option<(&'a [f32], [&'a [f32]; 3])>,
    /// `y` for the gate where `centred` is absent.
    pub y: &'a [f32],
}

impl Gradient<'_> {
    /// Writes all of `dy`.
    pub(crate) fn run(&self, isa: Isa, maps: &Maps, dy: &mut [MaybeUninit<f32>]) {
        let len = maps.len();
        assert!(self.d_out.len() == len && dy.len() == len);
        assert!(self.centred.is_none_or(|(y, _)| y.len() == len));
        assert!(!matches!(self.gate, Gate::Affine(..)) || self.y.len() == len);
        self.gate.check(len);
        let op = GradientRows {
            gradient: self,
            affine: self.gate.widen(maps),
            a: maps.widen(self.a),
            centre: self
                .centred
                .map(|(_, values)| values.map(|v| maps.widen(v)))
                .unwrap_or_default(),
            dy: dy.as_mut_ptr().cast(),
        };
        maps.run(isa, &op);
    }
}

struct GradientRows<'a> {
    gradient: &'a Gradient<'a>,
    affine: [Vec<f32>; 2],
    a: Vec<f32>,
    /// `mean`, `b`, `c`
    centre: [Vec<f32>; 3],
    dy: *mut f32,
}

// SAFETY: `dy` is written in `step` alone, whose callers promise that threads handle different
// elements.
unsafe impl Sync for GradientRows<'_> {}

impl RowOp for GradientRows<'_> {
    /// The gate's two values, `a`, `mean`, `b`, `c`.
    type State<S: Simd> = ([S::V; 2], S::V, [S::V; 3]);

    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, s: S, _: usize, at: usize, lanes: usize) -> Self::State<S> {
        // SAFETY: the caller's `at` lies within the widened values.
        unsafe {
            let mut centre = [s.splat(0.0); 3];
            if self.gradient.centred.is_some() {
                for (value, wide) in centre.iter_mut().zip(&self.centre) {
                    *value = load_at(s, wide, at, lanes);
                }
            }
            let affine = self.gradient.gate.begin(s, &self.affine, at, lanes);
            (affine, load_at(s, &self.a, at, lanes), centre)
        }
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.gradient.d_out.as_ptr().wrapping_add(at));
        if let Some((y, _)) = self.gradient.centred {
            s.prefetch(y.as_ptr().wrapping_add(at));
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd>(&self, s: S, state: &mut Self::State<S>, at: usize, lanes: usize) {
        let (affine, a, [mean, b, c]) = *state;
        // SAFETY: the caller says that `at + lanes` lies in the maps, which have one length, and that no
        // other thread handles these elements.
        unsafe {
            let d = load_at(s, self.gradient.d_out, at, lanes);
            let dz = self.gradient.gate.apply(s, d, self.gradient.y, affine, (at, lanes));
            let mut dy = s.mul(a, dz);
            if let Some((y, _)) = self.gradient.centred {
                let y = load_at(s, y, at, lanes);
                dy = s.add(dy, s.fma(b, s.sub(y, mean), c));
            }
            store_n(s, self.dy.add(at), dy, lanes);
        }
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, _: S, _: Self::State<S>, _: usize, _: usize, _: usize) {}
}
