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
    /// Burn's own operations.
    Stock,
}

impl Engine {
    /// The engine of `device`, with or without autodiff.
    pub fn of(device: &Device) -> Self {
        let plain = device.clone().without_autodiff();
        let kernels = match plain.as_dispatch() {
            DispatchDevice::Flex(_) => cpu_kernels(),
            #[allow(unreachable_patterns, reason = "Flex is the only device without features")]
            _ => None,
        };
        kernels.map_or(Engine::Stock, Engine::Kernels)
    }
}
