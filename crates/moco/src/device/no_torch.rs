//! What stands for [`super::torch`] in a build without LibTorch: it has no devices.

use super::Memory;
use burn::tensor::{Device, Tensor};

pub(super) fn cpu() -> Option<Device> {
    None
}

pub(super) fn gpus() -> Vec<Device> {
    Vec::new()
}

pub(super) fn title(_: &Device) -> Option<String> {
    None
}

pub(super) fn upload(pixels: Vec<f32>, _: [usize; 4], _: &Device) -> Result<Tensor<4>, Vec<f32>> {
    Err(pixels)
}

pub(super) fn gpu(_: &Device) -> Option<usize> {
    None
}

pub(super) fn is_of(_: &Device) -> bool {
    false
}

pub(super) fn capability(_: usize) -> Option<u32> {
    None
}

pub(super) fn allow_tf32(_: bool) {}

pub(super) fn version() -> Option<String> {
    None
}

pub(super) fn memory(_: &Device) -> Option<Memory> {
    None
}

pub(super) fn usage(_: &Device) -> Option<[u64; 2]> {
    None
}

pub(super) fn reset_peak(_: &Device) {}
