//! Functions of vectors that no instruction set has.

use super::Simd;

/// `e^x`, within 1.5 units in the last place for `|x| <= 87`; from there it goes to zero (below
/// 1.2e-38) and to 2.4e38 (never infinite). A NaN stays a NaN.
///
/// `e^x = 2^n e^r` with `n` whole and `|r| <= ln 2 / 2` (Cody and Waite's reduction in two parts);
/// `(e^r - 1 - r) / r^2` is a polynomial of degree 4, fitted by iterated weighted least squares to
/// a relative error of `e^r` of 4.2e-9.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    const POLY: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_4, 0.008_368_852, 0.001_381_432];
    // Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = s.min(s.splat(88.37), s.max(s.splat(-88.0), x));
    let n = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(n, s.splat(ROUND));
    let r = s.fnma(n, s.splat(LN2_LOW), s.fnma(n, s.splat(LN2_HIGH), x));
    let p = polynomial(s, r, &POLY);
    let one = s.splat(1.0);
    s.scale(s.add(one, s.fma(s.mul(r, r), p, r)), n)
}

/// `Σ c_i x^i`, by Horner's rule.
#[inline(always)]
pub(crate) fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, c: &[f32; N]) -> S::V {
    let mut value = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        value = s.fma(value, x, s.splat(c[i]));
    }
    value
}

/// The sum of a vector's lanes, by halves.
#[inline(always)]
pub(crate) fn sum_lanes<S: Simd>(s: S, v: S::V) -> f32 {
    let mut lanes = to_lanes(s, v);
    let mut half = S::LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The largest of a vector's lanes; NaNs may be passed over.
#[inline(always)]
pub(crate) fn max_lanes<S: Simd>(s: S, v: S::V) -> f32 {
    let lanes = to_lanes(s, v);
    let mut largest = f32::NEG_INFINITY;
    for i in 0..S::LANES {
        largest = if lanes[i] > largest { lanes[i] } else { largest };
    }
    largest
}

#[inline(always)]
fn to_lanes<S: Simd>(s: S, v: S::V) -> [f32; 16] {
    const { assert!(S::LANES <= 16) };
    let mut lanes = [0.0; 16];
    // SAFETY: the array holds at least `LANES` floats.
    unsafe { s.store(lanes.as_mut_ptr(), v) };
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Kernel;
    use crate::testing::isas;

    struct Map<'a, const FN: u8>(&'a [f32], &'a mut [f32]);

    impl<const FN: u8> Kernel for Map<'_, FN> {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for at in (0..self.0.len()).step_by(S::LANES) {
                let n = S::LANES.min(self.0.len() - at);
                // SAFETY: `at + n <= len` of both.
                unsafe {
                    let x = s.load_first(self.0.as_ptr().add(at), n);
                    let y = match FN {
                        0 => exp(s, x),
                        1 => s.splat(sum_lanes(s, x)),
                        _ => s.splat(max_lanes(s, x)),
                    };
                    s.store_first(self.1.as_mut_ptr().add(at), y, n);
                }
            }
        }
    }

    #[test]
    fn exp_is_accurate_and_has_its_limits() {
        let x: Vec<f32> = (-870_000..=870_000).step_by(37).map(|i| i as f32 * 1e-4).collect();
        for isa in isas() {
            let mut y = vec![0.0; x.len()];
            isa.run(Map::<0>(&x, &mut y));
            for (&x, &y) in x.iter().zip(&y) {
                let exact = f64::from(x).exp();
                let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1))
                    - f64::from(exact as f32);
                let error = (f64::from(y) - exact).abs() / ulp;
                assert!(error < 1.5, "{isa:?}: exp({x}) is off by {error} ulp");
            }
            let x = [0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -1e30, 89.0];
            let mut y = [0.0; 6];
            isa.run(Map::<0>(&x, &mut y));
            assert_eq!(y[0], 1.0);
            assert!(y[1] < 1.2e-38 && y[4] < 1.2e-38 && y[1] >= 0.0);
            assert!(y[2] > 2e38 && y[2].is_finite() && y[5] == y[2] && y[3].is_nan());
        }
    }

    #[test]
    fn lanes_are_reduced_whole() {
        let x: Vec<f32> = (1..=16).map(|i| if i % 7 == 0 { -50.0 } else { i as f32 }).collect();
        for isa in isas() {
            let lanes = isa.lanes();
            let (mut sum, mut max) = (vec![0.0; 16], vec![0.0; 16]);
            isa.run(Map::<1>(&x, &mut sum));
            isa.run(Map::<2>(&x, &mut max));
            for (part, at) in x.chunks(lanes).zip((0..16).step_by(lanes)) {
                assert_eq!(sum[at], part.iter().sum::<f32>(), "{isa:?}");
                assert_eq!(max[at], part.iter().copied().fold(f32::MIN, f32::max), "{isa:?}");
            }
        }
    }
}
