//! GELU and its derivative on vectors.

use super::Gelu;
use crate::simd::{Simd, exp, polynomial};

/// `gelu(x)`
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, gelu: Gelu, x: S::V) -> S::V {
    match gelu {
        Gelu::Exact => s.mul(x, normal(s, x).0),
        Gelu::Tanh => s.mul(x, gate(s, x).0),
    }
}

/// `d gelu / dx`
#[inline(always)]
pub(crate) fn derivative<S: Simd>(s: S, gelu: Gelu, x: S::V) -> S::V {
    match gelu {
        // (x Φ)' = Φ + x φ
        Gelu::Exact => {
            let (cdf, density) = normal(s, x);
            s.fma(x, density, cdf)
        }
        // (x σ)' = σ + x σ (1 - σ) u'
        Gelu::Tanh => {
            let (sigmoid, rest) = gate(s, x);
            let slope = s.fma(s.mul(x, x), s.splat(3.0 * CUBIC), s.splat(LINEAR));
            s.fma(s.mul(s.mul(x, slope), rest), sigmoid, sigmoid)
        }
    }
}

/// Distribution function and density of the standard normal distribution.
///
/// The tail is `Φ(-z) = φ(z) m(z)` for `z >= 0`, with Mills' ratio `m` (times `√(2π)`) as a
/// polynomial of `t = 1 / (1 + 0.21 z)` (the form of Abramowitz and Stegun 7.1.26, degree 9,
/// fitted by iterated weighted least squares to a relative error of 1.7e-8): one exponential
/// serves both results, and small tails keep their digits.
#[inline(always)]
fn normal<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    const MILLS: [f32; 9] = [
        0.083_711_54,
        0.085_069_35,
        0.069_188_87,
        0.124_884_926,
        -0.093_952_574,
        0.349_439_26,
        -0.330_285_9,
        0.283_604,
        -0.071_659_44,
    ];
    const INV_SQRT_2PI: f32 = 0.398_942_3;
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let z = s.max(s.sub(zero, x), x);
    let bell = exp(s, s.mul(s.mul(x, x), s.splat(-0.5)));
    let t = s.div(one, s.fma(z, s.splat(0.21), one));
    let tail = s.mul(bell, s.mul(t, polynomial(s, t, &MILLS)));
    // Φ(x) is the tail on the left and one minus the tail on the right.
    let right = s.gate(s.fnma(s.splat(2.0), tail, one), x);
    (s.add(tail, right), s.mul(bell, s.splat(INV_SQRT_2PI)))
}

/// `u = LINEAR x + CUBIC x³` with `LINEAR = 2 √(2/π)`: `(1 + tanh(u / 2)) / 2 = σ(u)`.
const LINEAR: f32 = 1.595_769;
const CUBIC: f32 = LINEAR * 0.044_715;

/// `σ(u)` and `1 - σ(u)`, both without cancellation.
#[inline(always)]
fn gate<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let u = s.mul(x, s.fma(s.mul(x, x), s.splat(CUBIC), s.splat(LINEAR)));
    let one = s.splat(1.0);
    let inverse = exp(s, s.sub(s.splat(0.0), u));
    let sigmoid = s.div(one, s.add(one, inverse));
    (sigmoid, s.mul(sigmoid, inverse))
}
