//! The kernels: one chunk of one parameter each.

use crate::simd::{Kernel, Simd, load_n, store_n};

pub(super) struct EmaChunk<'a> {
    pub key: &'a mut [f32],
    pub query: &'a [f32],
    pub momentum: f32,
}

impl Kernel for EmaChunk<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let EmaChunk { key, query, momentum } = self;
        let (keep, take) = (s.splat(momentum), s.splat(1.0 - momentum));
        let len = key.len().min(query.len());
        for at in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - at);
            // SAFETY: `at + lanes <= len`, the shorter of both.
            unsafe {
                let k = load_n(s, key.as_ptr().add(at), lanes);
                let q = load_n(s, query.as_ptr().add(at), lanes);
                store_n(s, key.as_mut_ptr().add(at), s.fma(keep, k, s.mul(take, q)), lanes);
            }
        }
    }
}

/// `v <- momentum v + take (g + decay p)`, then `p <- p - rate v`.
pub(super) struct SgdChunk<'a> {
    pub param: &'a mut [f32],
    pub grad: &'a [f32],
    pub velocity: &'a mut [f32],
    pub decay: f32,
    pub take: f32,
    pub momentum: f32,
    pub rate: f32,
}

impl Kernel for SgdChunk<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SgdChunk { param, grad, velocity, decay, take, momentum, rate } = self;
        let (decay, take) = (s.splat(decay), s.splat(take));
        let (momentum, rate) = (s.splat(momentum), s.splat(rate));
        let len = param.len().min(grad.len()).min(velocity.len());
        for at in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - at);
            // SAFETY: `at + lanes <= len`, the shortest of the three.
            unsafe {
                let p = load_n(s, param.as_ptr().add(at), lanes);
                let g = s.fma(decay, p, load_n(s, grad.as_ptr().add(at), lanes));
                // Multiplied apart: with `take` 1 this is SGD's own sum, bit for bit.
                let d = s.mul(take, g);
                let v = s.fma(momentum, load_n(s, velocity.as_ptr().add(at), lanes), d);
                store_n(s, velocity.as_mut_ptr().add(at), v, lanes);
                store_n(s, param.as_mut_ptr().add(at), s.fnma(rate, v, p), lanes);
            }
        }
    }
}
