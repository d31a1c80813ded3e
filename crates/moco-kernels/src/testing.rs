//! Small helpers of the unit tests.

use crate::Isa;

/// The instruction sets to test on this machine.
///
/// The aarch64 path runs anywhere (`mul_add` is then a slow library call), so it is tested
/// everywhere.
pub(crate) fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|&isa| isa == Isa::Neon || isa.is_supported())
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough for test data.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly standard normal: twelve uniforms (Irwin-Hall).
    pub(crate) fn normal(&mut self) -> f32 {
        ((0..12).map(|_| self.unit()).sum::<f64>() - 6.0) as f32
    }

    pub(crate) fn normals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.normal()).collect()
    }
}

pub(crate) fn max_abs_diff(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

/// `|a - b| / |b|` in the Frobenius norm; the absolute norm of `a - b` when `b` is zero.
pub(crate) fn relative_error(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |sum: f64| sum.sqrt();
    let diff = norm(a.iter().zip(b).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum());
    let size = norm(b.iter().map(|b| b * b).sum());
    if size == 0.0 { diff } else { diff / size }
}

/// The two precisions of the definitions.
pub(crate) trait Real:
    Copy
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
{
    fn of(x: f32) -> Self;
    fn sqrt(self) -> Self;
}

impl Real for f32 {
    fn of(x: f32) -> f32 {
        x
    }
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
}

impl Real for f64 {
    fn of(x: f32) -> f64 {
        f64::from(x)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
}

pub(crate) fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
