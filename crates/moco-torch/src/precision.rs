//! Fewer bits where they do no harm: 16-bit floats by autocast, TF32, and scaled losses.

use crate::ffi::{check, moco_torch_allow_tf32, moco_torch_autocast, moco_torch_unscale, pointers};
use std::ffi::c_int;
use tch::{Device, Kind, Tensor};

/// A float of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// bfloat16: the range of f32, 8 bits of precision.
    Bf16,
    /// IEEE half precision: 11 bits of precision, nothing above 65504 or below 6e-8.
    F16,
}

impl Half {
    /// Its number among `c10::ScalarType`.
    fn number(self) -> c_int {
        match self {
            Half::F16 => 5,
            Half::Bf16 => 15,
        }
    }

    /// LibTorch's name for it.
    pub fn kind(self) -> Kind {
        match self {
            Half::Bf16 => Kind::BFloat16,
            Half::F16 => Kind::Half,
        }
    }
}

/// Runs `f` with convolutions, products and attention on `device` in `half`, on this thread; `None` runs
/// it as it is. LibTorch's own lists say which operations stay in f32: norms, softmax, losses.
pub fn autocast<T>(device: Device, half: Option<Half>, f: impl FnOnce() -> T) -> T {
    let Some(half) = half else { return f() };
    // Of `c10::DeviceType`.
    let device = match device {
        Device::Cpu => 0,
        Device::Cuda(_) => 1,
        Device::Mps => 13,
        Device::Vulkan => 10,
    };
    set(device, half.number());
    let _end = End(device);
    f()
}

/// Ends autocast, also where a panic does.
struct End(c_int);

impl Drop for End {
    fn drop(&mut self) {
        set(self.0, -1);
    }
}

fn set(device: c_int, dtype: c_int) {
    // SAFETY: numbers of LibTorch's enumerations, see `autocast`.
    let words = unsafe { moco_torch_autocast(device, dtype) };
    // SAFETY: straight from the call.
    unsafe { check(words) }
}

/// Whether f32 products and convolutions of a GPU may round their operands to TF32 (10 bits after the
/// point), for the whole process.
pub fn allow_tf32(allow: bool) {
    // SAFETY: sets two switches.
    let words = unsafe { moco_torch_allow_tf32(allow) };
    // SAFETY: straight from the call.
    unsafe { check(words) }
}

/// Multiplies gradients by `factor` in place; a scalar that is 1 if any value is not finite, else 0.
///
/// # Panics
/// If there are none.
pub fn unscale(gradients: &[Tensor], factor: f64) -> Tensor {
    assert!(!gradients.is_empty(), "gradients to scale");
    let list = pointers(gradients);
    let mut found = std::ptr::null_mut();
    // SAFETY: the list holds as many living tensors as its length says.
    let words = unsafe { moco_torch_unscale(list.as_ptr(), list.len(), factor, &mut found) };
    // SAFETY: straight from the call.
    unsafe { check(words) };
    // SAFETY: the call did not fail, so `found` is a tensor made for us alone.
    unsafe { Tensor::from_ptr(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autocast_ends_with_its_function_even_by_a_panic() {
        let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        for half in [Half::Bf16, Half::F16] {
            assert_eq!(autocast(Device::Cpu, Some(half), || x.matmul(&x)).kind(), half.kind());
            assert_eq!(x.matmul(&x).kind(), Kind::Float);
        }
        let broken = || autocast(Device::Cpu, Some(Half::Bf16), || panic!("of the function"));
        assert!(std::panic::catch_unwind(broken).is_err());
        assert_eq!(x.matmul(&x).kind(), Kind::Float);
        assert_eq!(autocast(Device::Cpu, None, || x.matmul(&x)).kind(), Kind::Float);
    }

    #[test]
    fn gradients_are_scaled_back_and_a_number_that_is_none_is_found() {
        for (last, found) in [(4.0, 0.0), (f32::INFINITY, 1.0), (f32::NAN, 1.0)] {
            let gradients = [Tensor::from_slice(&[2.0f32]), Tensor::from_slice(&[6.0, last])];
            let seen = unscale(&gradients, 0.5);
            assert_eq!(f64::try_from(&seen).unwrap(), found, "{last}");
            assert_eq!(f64::try_from(&gradients[0]).unwrap(), 1.0);
            assert_eq!(f64::try_from(gradients[1].get(0)).unwrap(), 3.0);
        }
    }
}
