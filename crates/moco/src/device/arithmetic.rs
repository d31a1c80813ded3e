//! In how many bits a device computes large products, and for how long.

use super::{DeviceError, torch};
use crate::config::Precision;
use burn::tensor::Device;
use std::cell::Cell;

/// What convolutions, products and attention of a training step are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32.
    #[default]
    F32,
    /// f32 with operands rounded to TF32.
    Tf32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

thread_local! {
    static CURRENT: Cell<Arithmetic> = const { Cell::new(Arithmetic::F32) };
}

impl Arithmetic {
    /// What `device` computes in when asked for `precision`.
    ///
    /// # Errors
    /// [`DeviceError::Precision`] where the device, or the engine that computes on it, lacks it.
    pub fn on(device: &Device, precision: Precision) -> Result<Self, DeviceError> {
        let lacks = |why: &str| {
            Err(DeviceError::Precision { precision: precision.name(), why: why.to_owned() })
        };
        let engine = Engine::of(device);
        match (precision, engine) {
            (Precision::F32, _) => Ok(Self::F32),
            (Precision::Auto, Engine::TensorCores) => Ok(Self::Bf16),
            (Precision::Auto, _) => Ok(Self::F32),
            (_, Engine::Other) => lacks(
                "only LibTorch computes in it: build with --features libtorch and pass --device cuda:0",
            ),
            (Precision::Tf32, Engine::Cpu) => lacks("a CPU has no TF32"),
            (Precision::Tf32 | Precision::Bf16, Engine::Older) => {
                lacks("this GPU is older than those that compute in it; f16 is possible")
            }
            (Precision::Tf32, Engine::TensorCores) => Ok(Self::Tf32),
            (Precision::Bf16, Engine::TensorCores | Engine::Cpu) => Ok(Self::Bf16),
            (Precision::F16, _) => Ok(Self::F16),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// What this thread computes in now.
    #[cfg(any(test, feature = "libtorch"))]
    pub(crate) fn current() -> Self {
        CURRENT.get()
    }

    /// Runs `f` with this thread's layers in it.
    pub fn during<T>(self, f: impl FnOnce() -> T) -> T {
        let _before = Before(self.begin());
        f()
    }

    /// Switches to it; returns what it was before.
    fn begin(self) -> Self {
        let before = CURRENT.replace(self);
        if (self == Self::Tf32) != (before == Self::Tf32) {
            torch::allow_tf32(self == Self::Tf32);
        }
        before
    }
}

/// Switches back, also where a panic ends a function.
struct Before(Arithmetic);

impl Drop for Before {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// What matters of the engine behind a device.
enum Engine {
    /// LibTorch on a GPU with tensor cores for bf16 and TF32.
    TensorCores,
    /// LibTorch on a GPU without.
    Older,
    /// LibTorch on a CPU.
    Cpu,
    /// Our kernels, or another of Burn's backends.
    Other,
}

impl Engine {
    fn of(device: &Device) -> Self {
        match torch::gpu(device) {
            _ if !torch::is_of(device) => Self::Other,
            None => Self::Cpu,
            // AMD's GPUs have no such number; those that LibTorch supports have bf16.
            Some(index) => match torch::capability(index) {
                Some(..8) => Self::Older,
                _ => Self::TensorCores,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_kernels_compute_in_f32_alone() {
        let on = |precision| Arithmetic::on(&Device::flex(), precision);
        assert_eq!(on(Precision::F32), Ok(Arithmetic::F32));
        assert_eq!(on(Precision::Auto), Ok(Arithmetic::F32));
        for precision in [Precision::Tf32, Precision::Bf16, Precision::F16] {
            let error = on(precision).unwrap_err().to_string();
            assert!(error.contains(precision.name()) && error.contains("libtorch"), "{error}");
        }
    }

    #[test]
    fn it_lasts_as_long_as_the_function() {
        Arithmetic::Bf16.during(|| {
            assert_eq!(Arithmetic::current(), Arithmetic::Bf16);
            let broken = || Arithmetic::F16.during(|| panic!("of the function"));
            assert!(std::panic::catch_unwind(broken).is_err());
            assert_eq!(Arithmetic::current(), Arithmetic::Bf16);
        });
        assert_eq!(Arithmetic::current(), Arithmetic::F32);
    }
}
