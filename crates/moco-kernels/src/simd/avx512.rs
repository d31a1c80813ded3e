//! AVX-512: 16 lanes, native masks for tails.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Witness that the CPU has AVX-512 F, VL and DQ (and AVX2 and FMA with them).
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    #[inline]
    pub(crate) fn detect() -> Option<Avx512> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Avx512(()))
    }
}

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY of the blocks below: an `Avx512` exists only where `detect` found the features that the
// arithmetic intrinsics ask for; the memory intrinsics ask what the trait's contract promises.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    // 12 x 2 accumulators, 2 columns and a broadcast: 27 of 32 registers.
    const TILE_ROWS: usize = 12;
    const TILE_VECTORS: usize = 2;

    #[inline]
    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
        fn inside<K: Kernel>(s: Avx512, kernel: K) -> K::Out {
            kernel.run(s)
        }
        // SAFETY: `self` witnesses the features.
        unsafe { inside(self, kernel) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`; the caller says that a vector
        // can be read at `p`.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`; the caller says that a vector
        // can be written at `p`.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: masked-off lanes are not accessed; the others are the caller's `n`.
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: masked-off lanes are not accessed; the others are the caller's `n`.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), v) }
    }
    #[inline(always)]
    unsafe fn transpose(
        self,
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        let mut v = [self.splat(0.0); 16];
        for i in 0..16 {
            // SAFETY: the caller says that as many rows as a vector has lanes can be read from `from` on.
            v[i] = unsafe { self.load(from.add(i * from_stride)) };
        }
        // Within each quarter of the vectors, four rows at a time become four columns; then the
        // quarters themselves are transposed.
        let mut quads = v;
        for i in (0..16).step_by(4) {
            // SAFETY: `self` witnesses the instructions, see `Avx512::detect`; all values are in registers.
            unsafe {
                let low =
                    [_mm512_unpacklo_ps(v[i], v[i + 1]), _mm512_unpacklo_ps(v[i + 2], v[i + 3])];
                let high =
                    [_mm512_unpackhi_ps(v[i], v[i + 1]), _mm512_unpackhi_ps(v[i + 2], v[i + 3])];
                for (j, [a, b]) in [low, high].into_iter().enumerate() {
                    let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                    quads[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    quads[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
        }
        for i in 0..16 {
            let [a, b, c, d] = [0, 4, 8, 12].map(|quad| quads[quad + i % 4]);
            // SAFETY: `self` witnesses the instructions, see `Avx512::detect`; the caller says that as many
            // columns as a vector has lanes can be written from `to` on.
            unsafe {
                let (ab, cd) = match i / 4 % 2 {
                    0 => (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)),
                    _ => (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)),
                };
                let column = match i / 8 {
                    0 => _mm512_shuffle_f32x4::<0x88>(ab, cd),
                    _ => _mm512_shuffle_f32x4::<0xdd>(ab, cd),
                };
                self.store(to.add(i * to_stride), column);
            }
        }
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch faults for no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    fn prefetch_far(self, p: *const f32) {
        // SAFETY: a prefetch faults for no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn relu(self, a: __m512) -> __m512 {
        // `maxps` returns its second operand when either is NaN.
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
    }
    #[inline(always)]
    fn gate(self, a: __m512, gate: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe {
            let open = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(open, a)
        }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        // SAFETY: `self` witnesses the instructions, see `Avx512::detect`.
        unsafe { _mm512_scalef_ps(a, n) }
    }
}
