//! Vectors of floats, one sibling file per instruction set.
//!
//! A kernel is written once, generic over [`Simd`], and compiled once per instruction set:
//! [`Simd::enter`] is the door, a function with the `target_feature` attribute into which
//! everything marked `#[inline(always)]` below it is inlined. A kernel that forgets
//! `#[inline(always)]` is still correct, only slow.
//!
//! What several kernels share, or one kernel for several types, is a kernel itself and entered from
//! within: the door is never inlined, so that there is one copy of it for each instruction set. A call
//! costs some ten nanoseconds; inlined everywhere, the register tile alone took minutes to compile.

mod array;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;

#[cfg(any(target_arch = "aarch64", test))]
pub(crate) use array::Fused;
pub(crate) use array::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use math::{exp, max_lanes, polynomial, sum_lanes};

/// Code that is compiled for every instruction set.
pub(crate) trait Kernel {
    type Out;
    /// Implementations carry `#[inline(always)]`, as does every function between here and the
    /// vector operations.
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// A witness that this CPU has an instruction set, and the operations of that set.
///
/// A value can only be had from `detect`, so the arithmetic is safe to call. Memory access takes
/// raw pointers: the callers know shapes, not slices.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// `LANES` floats.
    type V: Copy;
    const LANES: usize;
    /// Most rows of the GEMM's register tile.
    const TILE_ROWS: usize;
    /// Vectors per row of the GEMM's register tile.
    const TILE_VECTORS: usize;

    /// Runs `kernel` with this instruction set enabled, as a function of its own.
    fn enter<K: Kernel>(self, kernel: K) -> K::Out;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `LANES` floats are readable at `p`.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` floats are writable at `p`.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// Loads the first `n` lanes; the others are zero.
    ///
    /// # Safety
    /// `n <= LANES` floats are readable at `p`.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n` lanes.
    ///
    /// # Safety
    /// `n <= LANES` floats are writable at `p`.
    unsafe fn store_first(self, p: *mut f32, v: Self::V, n: usize);

    /// Turns a square of `LANES` rows, `from_stride` floats apart, into its columns, `to_stride`
    /// floats apart. Columns are written in order: where they overlap, the later one stays.
    ///
    /// # Safety
    /// The rows are readable, the columns writable; rows and columns do not overlap.
    #[inline(always)]
    unsafe fn transpose(
        self,
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        for column in 0..Self::LANES {
            for row in 0..Self::LANES {
                // SAFETY: `row` and `column` are below the lanes, and the caller says that so many rows can be
                // read and so many columns written.
                unsafe {
                    *to.add(column * to_stride + row) = *from.add(row * from_stride + column)
                };
            }
        }
    }

    /// Asks for the cache line at `p`, which need not be a valid address.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    /// Asks for a line ahead of its use, no nearer than the second-level cache.
    #[inline(always)]
    fn prefetch_far(self, _: *const f32) {}

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `max(a, 0)`; a NaN stays a NaN, so that a diverged run shows.
    fn relu(self, a: Self::V) -> Self::V;
    /// `a` where `gate > 0`, else 0.
    fn gate(self, a: Self::V, gate: Self::V) -> Self::V;
    /// `a / b`, correctly rounded.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// Correctly rounded.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * 2^n` for whole `n` in `-127..=127`; at -127 the result may be zero.
    fn scale(self, a: Self::V, n: Self::V) -> Self::V;
}

/// Loads `n` lanes, with the cheap instruction when that is all of them.
///
/// # Safety
/// `n <= S::LANES` floats are readable at `p`.
#[inline(always)]
pub(crate) unsafe fn load_n<S: Simd>(s: S, p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller says that `n` floats can be read at `p`: a whole vector in the first arm.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_first(p, n) } }
}

/// Stores `n` lanes, with the cheap instruction when that is all of them.
///
/// # Safety
/// `n <= S::LANES` floats are writable at `p`.
#[inline(always)]
pub(crate) unsafe fn store_n<S: Simd>(s: S, p: *mut f32, v: S::V, n: usize) {
    // SAFETY: the caller says that `n` floats can be written at `p`: a whole vector in the first arm.
    unsafe { if n == S::LANES { s.store(p, v) } else { s.store_first(p, v, n) } }
}

/// Turns rows of one vector each, `LANES` floats apart, into `lanes` runs: `to[lane * to_stride +
/// row]`.
///
/// # Safety
/// `rows` rows are readable and the runs writable; they do not overlap.
#[inline(always)]
pub(crate) unsafe fn turn_rows<S: Simd>(
    s: S,
    from: *const f32,
    rows: usize,
    lanes: usize,
    to: *mut f32,
    to_stride: usize,
) {
    let squares = if lanes == S::LANES { rows / S::LANES * S::LANES } else { 0 };
    for row in (0..squares).step_by(S::LANES) {
        // SAFETY: a whole square of the caller's rows.
        unsafe { s.transpose(from.add(row * S::LANES), S::LANES, to.add(row), to_stride) };
    }
    for row in squares..rows {
        for lane in 0..lanes {
            // SAFETY: a row and a lane of the caller's.
            unsafe { *to.add(lane * to_stride + row) = *from.add(row * S::LANES + lane) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isas;

    struct Turn {
        rows: usize,
        lanes: usize,
    }

    impl Kernel for Turn {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let (rows, lanes) = (self.rows, self.lanes.min(S::LANES));
            let from: Vec<f32> = (0..rows * S::LANES).map(|i| i as f32).collect();
            let mut to = vec![-1.0; lanes * (rows + 3)];
            // SAFETY: the vectors have these lengths.
            unsafe { turn_rows(s, from.as_ptr(), rows, lanes, to.as_mut_ptr(), rows + 3) };
            for (i, &value) in to.iter().enumerate() {
                let (lane, row) = (i / (rows + 3), i % (rows + 3));
                let expected = if row < rows { (row * S::LANES + lane) as f32 } else { -1.0 };
                assert_eq!(value, expected, "{rows} rows, {lanes} lanes");
            }
        }
    }

    #[test]
    fn rows_turn_into_runs() {
        for isa in isas() {
            for (rows, lanes) in [(1, 16), (16, 16), (50, 16), (33, 5)] {
                isa.run(Turn { rows, lanes });
            }
        }
    }
}
