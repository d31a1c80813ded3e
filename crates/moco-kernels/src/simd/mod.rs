//! Vectors of floats, one sibling file per instruction set.
//!
//! A kernel is written once, generic over [`Simd`], and compiled once per instruction set:
//! [`Simd::enter`] is the door, a function with the `target_feature` attribute into which
//! everything marked `#[inline(always)]` below it is inlined. A kernel that forgets
//! `#[inline(always)]` is still correct, only slow.

mod array;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(any(target_arch = "aarch64", test))]
pub(crate) use array::Fused;
pub(crate) use array::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;

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

    /// Runs `kernel` with this instruction set enabled.
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

    /// Asks for the cache line at `p`, which need not be a valid address.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

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
}

/// Loads `n` lanes, with the cheap instruction when that is all of them.
///
/// # Safety
/// `n <= S::LANES` floats are readable at `p`.
#[inline(always)]
pub(crate) unsafe fn load_n<S: Simd>(s: S, p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller's promise; `n == LANES` in the first arm.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_first(p, n) } }
}

/// Stores `n` lanes, with the cheap instruction when that is all of them.
///
/// # Safety
/// `n <= S::LANES` floats are writable at `p`.
#[inline(always)]
pub(crate) unsafe fn store_n<S: Simd>(s: S, p: *mut f32, v: S::V, n: usize) {
    // SAFETY: the caller's promise; `n == LANES` in the first arm.
    unsafe { if n == S::LANES { s.store(p, v) } else { s.store_first(p, v, n) } }
}
