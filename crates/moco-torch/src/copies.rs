//! Batches on their way to a GPU while it computes.

use crate::ffi::{check, moco_torch_arrive, moco_torch_send};
use std::ffi::{c_int, c_void};
use tch::{Device, Tensor};

/// A copy that may still be under way.
#[derive(Debug)]
pub struct Sent {
    tensor: Tensor,
    /// Of its arrival; null where there is nothing to wait for.
    event: *mut c_void,
    /// In pinned memory: read until the copy has arrived.
    _host: Tensor,
}

// SAFETY: an event may be waited for on any thread, and is by one, which owns this value.
unsafe impl Send for Sent {}

/// Begins to copy `host`, a tensor of the CPU, to `device`: to a GPU from pinned memory, on a stream of
/// this thread's own, so that the GPU computes meanwhile; to the CPU it is the tensor itself.
pub fn send(host: Tensor, device: Device) -> Sent {
    let Device::Cuda(index) = device else {
        let tensor = host.to_device(device);
        return Sent { tensor, event: std::ptr::null_mut(), _host: host };
    };
    let host = host.pin_memory(device);
    let (mut tensor, mut event) = (std::ptr::null_mut(), std::ptr::null_mut());
    let from = host.as_ptr().cast_mut();
    // SAFETY: `host` lives as long as the copy, in the value that is returned.
    let words = unsafe { moco_torch_send(from, index as c_int, &mut tensor, &mut event) };
    // SAFETY: straight from the call.
    unsafe { check(words) };
    // SAFETY: the call did not fail, so `tensor` is one made for us alone.
    Sent { tensor: unsafe { Tensor::from_ptr(tensor) }, event, _host: host }
}

impl Sent {
    /// The copy. Operations that follow on this thread wait for it on the device; the host does not.
    pub fn arrived(mut self) -> Tensor {
        let event = std::mem::replace(&mut self.event, std::ptr::null_mut());
        if !event.is_null() {
            // SAFETY: an event of `moco_torch_send`, given back once.
            let words = unsafe { moco_torch_arrive(self.tensor.as_ptr().cast_mut(), event) };
            // SAFETY: straight from the call.
            unsafe { check(words) };
        }
        self.tensor.shallow_clone()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.event.is_null() {
            // SAFETY: as in `arrived`; frees the event. A failure would be of a GPU that is gone.
            let words = unsafe { moco_torch_arrive(self.tensor.as_ptr().cast_mut(), self.event) };
            // SAFETY: straight from the call.
            drop(unsafe { crate::ffi::failure(words) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_cpu_a_copy_is_the_tensor_itself() {
        let host = Tensor::from_slice(&[1.0f32, 2.0]);
        let from = host.data_ptr();
        assert_eq!(send(host, Device::Cpu).arrived().data_ptr(), from);
    }
}
