//! AVX2 with FMA: eight lanes.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Witness that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    #[inline]
    pub(crate) fn detect() -> Option<Avx2> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// Lane masks for `maskload`/`maskstore`: `n` ones begin at index `8 - n`.
static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
fn mask(n: usize) -> __m256i {
    assert!(n <= 8);
    // SAFETY: `8 - n + 8 <= 16`, inside the table; AVX is present wherever this file's code is
    // reached.
    unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(8 - n).cast()) }
}

// SAFETY of the blocks below: an `Avx2` exists only where `detect` found AVX2 and FMA, which is all
// that the arithmetic intrinsics ask; the memory intrinsics ask what the trait's contract promises.
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    // 6 x 2 accumulators, 2 columns and 1 broadcast: 15 of 16 registers.
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    #[inline]
    fn enter<K: Kernel>(self, kernel: K) -> K::Out {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        fn inside<K: Kernel>(s: Avx2, kernel: K) -> K::Out {
            kernel.run(s)
        }
        // SAFETY: `self` witnesses both features.
        unsafe { inside(self, kernel) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`; the caller says that a vector
        // can be read at `p`.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`; the caller says that a vector
        // can be written at `p`.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: masked-off lanes are not accessed; the others are the caller's `n`.
        unsafe { _mm256_maskload_ps(p, mask(n)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m256, n: usize) {
        // Not `maskstore`, with which a 7x7 convolution's gathering made it a tenth slower on Zen 3.
        // SAFETY: the parts that are written make up the caller's `n` floats.
        unsafe {
            let (mut low, mut at) = (_mm256_castps256_ps128(v), p);
            if n & 8 != 0 {
                return self.store(p, v);
            }
            if n & 4 != 0 {
                _mm_storeu_ps(at, low);
                (low, at) = (_mm256_extractf128_ps::<1>(v), at.add(4));
            }
            if n & 2 != 0 {
                _mm_storel_pd(at.cast(), _mm_castps_pd(low));
                (low, at) = (_mm_movehl_ps(low, low), at.add(2));
            }
            if n & 1 != 0 {
                _mm_store_ss(at, low);
            }
        }
    }
    #[inline(always)]
    unsafe fn transpose(
        self,
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        let mut v = [self.splat(0.0); 8];
        for i in 0..8 {
            // SAFETY: the caller says that as many rows as a vector has lanes can be read from `from` on.
            v[i] = unsafe { self.load(from.add(i * from_stride)) };
        }
        // Within each half of the vectors, four rows at a time become four columns; then the halves
        // are exchanged.
        let mut quads = v;
        for i in [0, 4] {
            // SAFETY: `self` witnesses the instructions, see `Avx2::detect`; all values are in registers.
            unsafe {
                let low =
                    [_mm256_unpacklo_ps(v[i], v[i + 1]), _mm256_unpacklo_ps(v[i + 2], v[i + 3])];
                let high =
                    [_mm256_unpackhi_ps(v[i], v[i + 1]), _mm256_unpackhi_ps(v[i + 2], v[i + 3])];
                for (j, [a, b]) in [low, high].into_iter().enumerate() {
                    quads[i + 2 * j] = _mm256_shuffle_ps::<0x44>(a, b);
                    quads[i + 2 * j + 1] = _mm256_shuffle_ps::<0xee>(a, b);
                }
            }
        }
        for i in 0..8 {
            let (a, b) = (quads[i % 4], quads[i % 4 + 4]);
            // SAFETY: `self` witnesses the instructions, see `Avx2::detect`; the caller says that as many
            // columns as a vector has lanes can be written from `to` on.
            unsafe {
                let column = match i {
                    0..4 => _mm256_permute2f128_ps::<0x20>(a, b),
                    _ => _mm256_permute2f128_ps::<0x31>(a, b),
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
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn relu(self, a: __m256) -> __m256 {
        // `maxps` returns its second operand when either is NaN.
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
    }
    #[inline(always)]
    fn gate(self, a: __m256, gate: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_and_ps(a, _mm256_cmp_ps::<_CMP_GT_OQ>(gate, _mm256_setzero_ps())) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        // SAFETY: `self` witnesses the instructions, see `Avx2::detect`.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }
}
