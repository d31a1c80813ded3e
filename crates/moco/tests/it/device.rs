//! Where these tests compute.

use moco::device::{self, Device};
use moco::ops::Engine;

/// The CPU; or the device that `MOCO_TEST_DEVICE` names, `vulkan:0` of a build with that feature,
/// so that every golden vector and trajectory holds a GPU to account too.
pub fn device() -> Device {
    let name = std::env::var("MOCO_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    device::parse(&name).unwrap_or_else(|e| panic!("MOCO_TEST_DEVICE: {e}"))
}

/// Whether our own kernels compute there.
pub fn is_ours() -> bool {
    matches!(Engine::of(&device()), Engine::Kernels(_))
}
