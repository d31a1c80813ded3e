//! The one-dimensional transforms, from which the two-dimensional ones are made by rows and
//! columns.
//!
//! With `a = 0.625`, `b = 1.5` and the points in the order 0, a, -a, b, -b, ∞:
//!
//! ```text
//!       ⎡ a²b²   0      -(a²+b²)  0        1  0 ⎤         ⎡ 1/(a²b²)   0     0    ⎤
//!       ⎢ 0     -ab²    -b²       a        1  0 ⎥         ⎢ 1/p        a/p   a²/p ⎥   p = 2a²(a²-b²)
//! Bᵀ =  ⎢ 0      ab²    -b²      -a        1  0 ⎥    G =  ⎢ 1/p       -a/p   a²/p ⎥
//!       ⎢ 0     -ba²    -a²       b        1  0 ⎥         ⎢ 1/q        b/q   b²/q ⎥   q = 2b²(b²-a²)
//!       ⎢ 0      ba²    -a²      -b        1  0 ⎥         ⎢ 1/q       -b/q   b²/q ⎥
//!       ⎣ 0      a²b²    0       -(a²+b²)  0  1 ⎦         ⎣ 0          0     1    ⎦
//!
//!       ⎡ 1  1   1   1   1   0 ⎤
//! Aᵀ =  ⎢ 0  a  -a   b  -b   0 ⎥
//!       ⎢ 0  a²  a²  b²  b²  0 ⎥
//!       ⎣ 0  a³ -a³  b³ -b³  1 ⎦
//! ```

use crate::simd::Simd;

const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
const P: f32 = 2.0 * A2 * (A2 - B2);
const Q: f32 = 2.0 * B2 * (B2 - A2);

/// A one-dimensional transform. A trait and not a closure, because closures are not compiled for
/// the kernel's instruction set unless forced inline.
pub(super) trait OneWay<const N: usize, const M: usize> {
    fn apply<S: Simd>(s: S, v: [S::V; N]) -> [S::V; M];
}

/// `x a + y b`
#[inline(always)]
pub(super) fn blend<S: Simd>(s: S, x: f32, a: S::V, y: f32, b: S::V) -> S::V {
    s.fma(s.splat(y), b, s.mul(s.splat(x), a))
}

/// `Bᵀ d`
#[derive(Clone, Copy)]
pub(super) struct Input;

impl OneWay<6, 6> for Input {
    #[inline(always)]
    fn apply<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        let (a, b, a2, b2) = (s.splat(A), s.splat(B), s.splat(A2), s.splat(B2));
        let (product, sum) = (s.splat(A2 * B2), s.splat(A2 + B2));
        let even_a = s.fnma(b2, d[2], d[4]);
        let odd_a = s.fnma(b2, d[1], d[3]);
        let even_b = s.fnma(a2, d[2], d[4]);
        let odd_b = s.fnma(a2, d[1], d[3]);
        [
            s.fma(product, d[0], s.fnma(sum, d[2], d[4])),
            s.fma(a, odd_a, even_a),
            s.fnma(a, odd_a, even_a),
            s.fma(b, odd_b, even_b),
            s.fnma(b, odd_b, even_b),
            s.fma(product, d[1], s.fnma(sum, d[3], d[5])),
        ]
    }
}

/// `Aᵀ m`
#[derive(Clone, Copy)]
pub(super) struct Output;

impl OneWay<6, 4> for Output {
    #[inline(always)]
    fn apply<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        let (sum_a, difference_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (sum_b, difference_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(m[0], s.add(sum_a, sum_b)),
            blend(s, A, difference_a, B, difference_b),
            blend(s, A2, sum_a, B2, sum_b),
            s.add(m[5], blend(s, A * A2, difference_a, B * B2, difference_b)),
        ]
    }
}

/// `A y`, the transpose of [`Output`].
#[derive(Clone, Copy)]
pub(super) struct OutputTransposed;

impl OneWay<4, 6> for OutputTransposed {
    #[inline(always)]
    fn apply<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
        let (even_a, odd_a) = (s.fma(s.splat(A2), y[2], y[0]), blend(s, A, y[1], A * A2, y[3]));
        let (even_b, odd_b) = (s.fma(s.splat(B2), y[2], y[0]), blend(s, B, y[1], B * B2, y[3]));
        [
            y[0],
            s.add(even_a, odd_a),
            s.sub(even_a, odd_a),
            s.add(even_b, odd_b),
            s.sub(even_b, odd_b),
            y[3],
        ]
    }
}

/// `G g`
#[derive(Clone, Copy)]
pub(super) struct Weights;

impl OneWay<3, 6> for Weights {
    #[inline(always)]
    fn apply<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 6] {
        let (even_a, odd_a) = (blend(s, 1.0 / P, g[0], A2 / P, g[2]), s.mul(s.splat(A / P), g[1]));
        let (even_b, odd_b) = (blend(s, 1.0 / Q, g[0], B2 / Q, g[2]), s.mul(s.splat(B / Q), g[1]));
        [
            s.mul(s.splat(1.0 / (A2 * B2)), g[0]),
            s.add(even_a, odd_a),
            s.sub(even_a, odd_a),
            s.add(even_b, odd_b),
            s.sub(even_b, odd_b),
            g[2],
        ]
    }
}

/// `Gᵀ u`, the transpose of [`Weights`].
#[derive(Clone, Copy)]
pub(super) struct WeightsTransposed;

impl OneWay<6, 3> for WeightsTransposed {
    #[inline(always)]
    fn apply<S: Simd>(s: S, u: [S::V; 6]) -> [S::V; 3] {
        let (sum_a, difference_a) = (s.add(u[1], u[2]), s.sub(u[1], u[2]));
        let (sum_b, difference_b) = (s.add(u[3], u[4]), s.sub(u[3], u[4]));
        [
            s.fma(s.splat(1.0 / (A2 * B2)), u[0], blend(s, 1.0 / P, sum_a, 1.0 / Q, sum_b)),
            blend(s, A / P, difference_a, B / Q, difference_b),
            s.add(u[5], blend(s, A2 / P, sum_a, B2 / Q, sum_b)),
        ]
    }
}

/// Applies a one-dimensional transform to the columns and then to the rows of an `N x N` tile.
#[inline(always)]
pub(super) fn both_ways<S: Simd, T: OneWay<N, M>, const N: usize, const M: usize>(
    s: S,
    _: T,
    tile: [[S::V; N]; N],
) -> [[S::V; M]; M] {
    let zero = s.splat(0.0);
    let mut columns = [[zero; N]; M];
    for x in 0..N {
        let mut column = [zero; N];
        for y in 0..N {
            column[y] = tile[y][x];
        }
        let column = T::apply(s, column);
        for y in 0..M {
            columns[y][x] = column[y];
        }
    }
    let mut out = [[zero; M]; M];
    for y in 0..M {
        out[y] = T::apply(s, columns[y]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::Kernel;
    use crate::testing::Rng;

    /// One-dimensional F(4, 3): `Aᵀ ((G g) ∘ (Bᵀ d))` is the correlation of six inputs with three
    /// weights, and the transposed forms give the same bilinear map seen from its other sides.
    struct Identity;

    impl Kernel for Identity {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let mut rng = Rng::new(1);
            for _ in 0..20 {
                let (d, g, y) = (rng.normals(6), rng.normals(3), rng.normals(4));
                let vector = |v: &[f32], i: usize| s.splat(v[i]);
                let lane = |v: S::V| {
                    let mut out = [0.0f32; 16];
                    // SAFETY: no vector has more than 16 lanes.
                    unsafe { s.store(out.as_mut_ptr(), v) };
                    out[0]
                };
                let v = Input::apply(s, std::array::from_fn(|i| vector(&d, i)));
                let u = Weights::apply(s, std::array::from_fn(|i| vector(&g, i)));
                let m = std::array::from_fn(|i| s.mul(v[i], u[i]));
                for (i, got) in Output::apply(s, m).into_iter().enumerate() {
                    let expected: f32 = (0..3).map(|j| d[i + j] * g[j]).sum();
                    assert!((lane(got) - expected).abs() < 2e-5);
                }
                let dm = OutputTransposed::apply(s, std::array::from_fn(|i| vector(&y, i)));
                let du = std::array::from_fn(|i| s.mul(v[i], dm[i]));
                for (j, got) in WeightsTransposed::apply(s, du).into_iter().enumerate() {
                    let expected: f32 = (0..4).map(|i| d[i + j] * y[i]).sum();
                    assert!((lane(got) - expected).abs() < 2e-5);
                }
            }
        }
    }

    #[test]
    fn one_dimensional_transforms_make_a_correlation_and_its_weight_gradient() {
        Isa::Portable.run(Identity);
    }
}
