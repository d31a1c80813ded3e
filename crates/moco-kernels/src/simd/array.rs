//! Plain Rust over arrays of eight floats: the portable path, and its fused twin for aarch64.
//!
//! The loops have a constant length, so the compiler unrolls them into whatever vectors the target
//! has. `mul_add` is one instruction on aarch64 and a library call on baseline x86-64: hence two
//! types, one of which rounds between product and sum.

use super::{Kernel, Simd};

const LANES: usize = 8;

/// Runs anywhere; products are rounded before they are added.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Plain arrays with fused multiply-add: `fmla` on aarch64.
#[cfg(any(target_arch = "aarch64", test))]
#[derive(Clone, Copy)]
pub(crate) struct Fused;

macro_rules! array_simd {
    ($name:ident, $fma:expr, $rows:literal) => {
        impl Simd for $name {
            type V = [f32; LANES];
            const LANES: usize = LANES;
            const TILE_ROWS: usize = $rows;
            const TILE_VECTORS: usize = 1;

            #[inline(never)]
            fn enter<K: Kernel>(self, kernel: K) -> K::Out {
                kernel.run(self)
            }
            #[inline(always)]
            fn splat(self, x: f32) -> Self::V {
                [x; LANES]
            }
            #[inline(always)]
            unsafe fn load(self, p: *const f32) -> Self::V {
                // SAFETY: the caller gives `LANES` readable floats; `read_unaligned` asks no more.
                unsafe { p.cast::<Self::V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut f32, v: Self::V) {
                // SAFETY: the caller gives `LANES` writable floats; `write_unaligned` asks no more.
                unsafe { p.cast::<Self::V>().write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
                let mut v = [0.0; LANES];
                for i in 0..n {
                    // SAFETY: `i < n`, and the caller gives `n` readable floats.
                    v[i] = unsafe { *p.add(i) };
                }
                v
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut f32, v: Self::V, n: usize) {
                for i in 0..n {
                    // SAFETY: `i < n`, and the caller gives `n` writable floats.
                    unsafe { *p.add(i) = v[i] };
                }
            }
            #[inline(always)]
            fn add(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a * b)
            }
            #[inline(always)]
            fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                let mut out = c;
                for i in 0..LANES {
                    out[i] = $fma(a[i], b[i], c[i]);
                }
                out
            }
            #[inline(always)]
            fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                let mut out = c;
                for i in 0..LANES {
                    out[i] = $fma(-a[i], b[i], c[i]);
                }
                out
            }
            #[inline(always)]
            fn relu(self, a: Self::V) -> Self::V {
                zip(a, a, |a, _| if a < 0.0 { 0.0 } else { a })
            }
            #[inline(always)]
            fn gate(self, a: Self::V, gate: Self::V) -> Self::V {
                zip(a, gate, |a, g| if g > 0.0 { a } else { 0.0 })
            }
            #[inline(always)]
            fn div(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| a / b)
            }
            #[inline(always)]
            fn sqrt(self, a: Self::V) -> Self::V {
                zip(a, a, |a, _| a.sqrt())
            }
            #[inline(always)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| if a > b { a } else { b })
            }
            #[inline(always)]
            fn min(self, a: Self::V, b: Self::V) -> Self::V {
                zip(a, b, |a, b| if a < b { a } else { b })
            }
            #[inline(always)]
            fn scale(self, a: Self::V, n: Self::V) -> Self::V {
                zip(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) as u32) << 23))
            }
        }
    };
}

array_simd!(Portable, |a: f32, b: f32, c: f32| a * b + c, 4);
#[cfg(any(target_arch = "aarch64", test))]
array_simd!(Fused, |a: f32, b: f32, c: f32| a.mul_add(b, c), 8);

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}
