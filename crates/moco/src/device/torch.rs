//! The devices of LibTorch.

use super::Memory;
use burn::backend::libtorch::{LibTorchDevice, TchTensor};
use burn::backend::{DispatchDevice, LibTorch};
use burn::tensor::{Device, Tensor};
use moco_torch::memory;

/// LibTorch's CPU.
pub(super) fn cpu() -> Option<Device> {
    Some(Device::libtorch())
}

/// LibTorch's GPUs: NVIDIA's, or AMD's where LibTorch was built for ROCm.
pub(super) fn gpus() -> Vec<Device> {
    (0..memory::gpus()).map(Device::libtorch_cuda).collect()
}

/// What a GPU of LibTorch is: its name, its memory, its engine.
pub(super) fn title(device: &Device) -> Option<String> {
    let index = gpu(device)?;
    let name = memory::name(index).unwrap_or_else(|| "a GPU".to_owned());
    let room = memory::room(index).map(|room| {
        format!("{:.0} GB, {:.0} GB free", room.total as f64 / 1e9, room.free as f64 / 1e9)
    });
    let precisions = match capability(index) {
        Some(..8) => "f32, f16",
        _ => "f32, tf32, bf16, f16",
    };
    let facts = [Some(name), room, Some(precisions.to_owned()), version()];
    Some(facts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Pixels on a GPU of LibTorch, without waiting for it; none on other devices, whose pixels come back.
pub(super) fn upload(
    pixels: Vec<f32>,
    shape: [usize; 4],
    device: &Device,
) -> Result<Tensor<4>, Vec<f32>> {
    let Some(index) = gpu(device) else { return Err(pixels) };
    let tensor = memory::to_gpu(&pixels, &shape.map(|size| size as i64), index);
    Ok(Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor)))
}

/// The number of a GPU of LibTorch.
pub(super) fn gpu(device: &Device) -> Option<usize> {
    let plain = device.clone().without_autodiff();
    match plain.as_dispatch() {
        DispatchDevice::LibTorch(LibTorchDevice::Cuda(index)) => Some(*index),
        _ => None,
    }
}

/// Whether it is one of LibTorch's devices.
pub(super) fn is_of(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::LibTorch(_))
}

/// NVIDIA's first number of what a GPU can do: bf16 and TF32 came with 8.
pub(super) fn capability(index: usize) -> Option<u32> {
    memory::capability(index).map(|[major, _]| major)
}

/// Whether f32 products may round their operands to TF32.
pub(super) fn allow_tf32(allow: bool) {
    moco_torch::precision::allow_tf32(allow);
}

/// LibTorch and its version.
pub(super) fn version() -> Option<String> {
    Some(format!("LibTorch {}", memory::version()))
}

/// The memory of a GPU of LibTorch.
pub(super) fn memory(device: &Device) -> Option<Memory> {
    let room = memory::room(gpu(device)?)?;
    Some(Memory { free: room.free as u64, total: room.total as u64 })
}

/// Bytes that tensors take of a GPU of LibTorch, now and at most.
pub(super) fn usage(device: &Device) -> Option<[u64; 2]> {
    let used = memory::in_use(gpu(device)?)?;
    Some([used.now as u64, used.peak as u64])
}

/// Has the peak count from now on.
pub(super) fn reset_peak(device: &Device) {
    if let Some(index) = gpu(device) {
        memory::reset_peak(index);
    }
}
