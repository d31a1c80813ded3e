//! GELU, `x Φ(x)` (Hendrycks and Gimpel 2016, arXiv 1606.08415): exact, and the paper's
//! approximation by the hyperbolic tangent.
//!
//! Error of output and derivative: below 3e-7 times `max(1, |x|)`; over normally distributed values the relative Frobenius error is below 1e-7.

pub(crate) mod scalar;
#[cfg(test)]
mod tests;
mod vector;

use std::mem::MaybeUninit;

use crate::Isa;
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{filled, for_each_chunk};
pub(crate) use vector::{derivative, value};

/// Which function is called GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Φ(x)`, the normal distribution's own: `torch.nn.GELU()`.
    Exact,
    /// `x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`: `torch.nn.GELU("tanh")`.
    Tanh,
}

/// Elements per job.
const CHUNK: usize = 16 << 10;

/// GELU of every element; any shape.
pub fn gelu_forward(isa: Isa, gelu: Gelu, x: &[f32]) -> Vec<f32> {
    // SAFETY: the chunks cover the output, and a kernel writes all of its chunk.
    unsafe {
        filled(x.len(), |out| {
            for_each_chunk(out, CHUNK, |i, out| {
                isa.run(Forward { gelu, x: &x[i * CHUNK..][..out.len()], out });
            });
        })
    }
}

/// `dx` from the input of [`gelu_forward`] and the gradient of its output.
///
/// # Panics
/// When the slices differ in length.
pub fn gelu_backward(isa: Isa, gelu: Gelu, x: &[f32], d_out: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), d_out.len(), "one gradient per element");
    // SAFETY: the chunks cover the output, and a kernel writes all of its chunk.
    unsafe {
        filled(x.len(), |dx| {
            for_each_chunk(dx, CHUNK, |i, dx| {
                let range = i * CHUNK..i * CHUNK + dx.len();
                isa.run(Backward { gelu, x: &x[range.clone()], d_out: &d_out[range], dx });
            });
        })
    }
}

struct Forward<'a> {
    gelu: Gelu,
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Forward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.x.len().min(self.out.len());
        for at in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - at);
            // SAFETY: `at + lanes <= len`, the shorter of both.
            unsafe {
                let x = load_n(s, self.x.as_ptr().add(at), lanes);
                let out = self.out.as_mut_ptr().cast::<f32>().add(at);
                store_n(s, out, value(s, self.gelu, x), lanes);
            }
        }
    }
}

struct Backward<'a> {
    gelu: Gelu,
    x: &'a [f32],
    d_out: &'a [f32],
    dx: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Backward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.x.len().min(self.d_out.len()).min(self.dx.len());
        for at in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - at);
            // SAFETY: `at + lanes <= len`, the shortest of the three.
            unsafe {
                let slope = derivative(s, self.gelu, load_n(s, self.x.as_ptr().add(at), lanes));
                let d = load_n(s, self.d_out.as_ptr().add(at), lanes);
                store_n(s, self.dx.as_mut_ptr().cast::<f32>().add(at), s.mul(d, slope), lanes);
            }
        }
    }
}
