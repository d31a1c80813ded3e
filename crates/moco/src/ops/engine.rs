//! Which engine computes on a device.

use crate::device::cpu_kernels;
use burn::backend::DispatchDevice;
use burn::tensor::Device;
use moco_kernels::Isa;

/// What computes the operations of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Our CPU kernels, with one of the processor's instruction sets.
    Kernels(Isa),
    /// LibTorch's operations and its own autograd.
    #[cfg(feature = "libtorch")]
    LibTorch,
    /// Burn's own operations.
    Stock,
}

impl Engine {
    /// The engine of `device`, with or without autodiff.
    pub fn of(device: &Device) -> Self {
        let plain = device.clone().without_autodiff();
        match plain.as_dispatch() {
            DispatchDevice::Flex(_) => cpu_kernels().map_or(Engine::Stock, Engine::Kernels),
            #[cfg(feature = "libtorch")]
            DispatchDevice::LibTorch(_) if cpu_kernels().is_some() => Engine::LibTorch,
            #[allow(unreachable_patterns, reason = "Flex is the only device without features")]
            _ => Engine::Stock,
        }
    }
}

/// Whether `device` is a GPU of CubeCL, Burn's own engine for GPUs.
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))]
pub(super) fn is_cubecl(device: &Device) -> bool {
    let plain = device.clone().without_autodiff();
    matches!(plain.as_dispatch(), DispatchDevice::Cube(_))
}

#[cfg(not(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan")))]
pub(super) fn is_cubecl(_: &Device) -> bool {
    false
}
