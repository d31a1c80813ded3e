//! The instruction set as a value: detected once, forced by an environment variable or by a test.

use std::sync::OnceLock;

#[cfg(any(target_arch = "aarch64", test))]
use crate::simd::Fused;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Kernel, Portable, Simd};

/// An instruction set that every kernel of this crate can be run with.
///
/// All sets compute the same function; they differ in the order of additions and in whether a
/// product is rounded before it is added, so results agree to a few units in the last place, not
/// bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust over arrays of eight floats; the compiler uses what the build target guarantees.
    Portable,
    /// x86-64 with AVX2 and FMA: eight lanes, 16 registers.
    Avx2,
    /// x86-64 with AVX-512 (F, VL, DQ): 16 lanes, 32 registers, masked tails.
    Avx512,
    /// aarch64. The portable code with fused multiply-add, which the compiler turns into NEON;
    /// there are no hand-written NEON intrinsics.
    Neon,
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// Whether this machine can run it.
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The fastest set of this machine, or the one that the environment variable `MOCO_KERNELS`
    /// (`portable`, `avx2`, `avx512`, `neon`) names, if it is supported. Read once per process;
    /// other values of the variable are left to the application.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let named = std::env::var("MOCO_KERNELS").ok().and_then(|name| Isa::from_name(&name));
            named.filter(|isa| isa.is_supported()).unwrap_or_else(Isa::detected)
        })
    }

    /// The set with this name, as `MOCO_KERNELS` spells it.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Its name, as `MOCO_KERNELS` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// The set to use for maps of `channels` channels, where vectors run over channels: with at
    /// most eight of them AVX-512 would leave half of each vector empty and take twice as long as
    /// AVX2.
    pub(crate) fn for_channels(self, channels: usize) -> Isa {
        if self == Isa::Avx512 && channels <= Isa::Avx2.lanes() { Isa::Avx2 } else { self }
    }

    fn detected() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_supported()).unwrap_or(Isa::Portable)
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// # Panics
    /// When this machine does not support it.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            Isa::Portable => Portable.enter(kernel),
            #[cfg(any(target_arch = "aarch64", test))]
            Isa::Neon => Fused.enter(kernel),
            #[cfg(not(any(target_arch = "aarch64", test)))]
            Isa::Neon => panic!("neon needs an aarch64 CPU"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().expect("this CPU has no AVX2 with FMA").enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().expect("this CPU has no AVX-512").enter(kernel),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => panic!("{} needs an x86-64 CPU", self.name()),
        }
    }

    /// Outputs per full panel of the GEMM, [`Simd::LANES`] times [`Simd::TILE_VECTORS`].
    pub(crate) fn panel_width(self) -> usize {
        match self {
            Isa::Portable | Isa::Neon => 8,
            Isa::Avx2 => 16,
            Isa::Avx512 => 32,
        }
    }

    /// Floats per vector register, [`Simd::LANES`].
    pub(crate) fn lanes(self) -> usize {
        match self {
            Isa::Avx512 => 16,
            Isa::Portable | Isa::Neon | Isa::Avx2 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("stock"), None);
    }

    #[test]
    fn the_best_set_is_supported() {
        assert!(Isa::best().is_supported());
        assert!(Isa::Portable.is_supported());
    }

    #[test]
    fn lanes_agree_with_the_vector_types() {
        struct Lanes;
        impl Kernel for Lanes {
            type Out = (usize, usize);
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> (usize, usize) {
                (S::LANES, S::LANES * S::TILE_VECTORS)
            }
        }
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            assert_eq!(isa.run(Lanes), (isa.lanes(), isa.panel_width()));
        }
    }
}
