//! Where tensors lie: GPUs, their memory, and the order of a tensor's values.

use crate::ffi::{
    MemoryInfo, check, moco_torch_channels_last, moco_torch_gpu_bytes, moco_torch_gpu_room,
    moco_torch_reset_peak, moco_torch_to_gpu, moco_torch_version,
};
use libloading::Symbol;
#[cfg(unix)]
use libloading::os::unix::Library;
use std::ffi::{CStr, c_char, c_int};
use tch::Tensor;

/// Whether a 4-dimensional tensor `[N, C, H, W]` lies in memory as `[N, H, W, C]`, which LibTorch calls
/// channels-last: its convolutions then take and give this order without copies.
pub fn is_channels_last(tensor: &Tensor) -> bool {
    // SAFETY: a living tensor.
    unsafe { moco_torch_channels_last(tensor.as_ptr().cast_mut()) != 0 }
}

/// GPUs that this LibTorch can use here.
pub fn gpus() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}

/// Bytes of a GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free for anybody; LibTorch itself may hold more that no tensor uses.
    pub free: usize,
    /// In all.
    pub total: usize,
}

/// The memory of GPU `index`, as the driver tells; `None` if it does not.
#[cfg(unix)]
pub fn room(index: usize) -> Option<Room> {
    if index >= gpus() {
        return None;
    }
    let this = Library::this();
    let named = |name: &[u8]| {
        // SAFETY: the runtimes of CUDA and ROCm declare it with this type, see `MemoryInfo`.
        unsafe { this.get::<MemoryInfo>(name) }.ok().map(|symbol| *symbol)
    };
    let info = named(b"cudaMemGetInfo\0").or_else(|| named(b"hipMemGetInfo\0"))?;
    let (mut free, mut total, mut status) = (0, 0, 1);
    // SAFETY: a function of the runtime that LibTorch itself is linked with, for a GPU that exists.
    let words =
        unsafe { moco_torch_gpu_room(index as c_int, info, &mut free, &mut total, &mut status) };
    // SAFETY: straight from the call.
    unsafe { check(words) };
    (status == 0).then_some(Room { free, total })
}

/// CUDA's driver, ready to be asked about a GPU that exists; `None` where it is not NVIDIA's.
#[cfg(unix)]
fn driver(index: usize) -> Option<libloading::Library> {
    type Init = unsafe extern "C" fn(u32) -> c_int;
    if index >= gpus() {
        return None;
    }
    // SAFETY: the driver's library, which LibTorch has opened before to count GPUs.
    let driver = unsafe { libloading::Library::new("libcuda.so.1") }.ok()?;
    // SAFETY: `CUresult cuInit(unsigned int)` of CUDA's driver API.
    let init: Symbol<'_, Init> = unsafe { driver.get(b"cuInit\0") }.ok()?;
    // SAFETY: 0 is the only flag that there is.
    let ready = unsafe { init(0) } == 0;
    ready.then_some(driver)
}

/// What GPU `index` calls itself; `None` where its driver does not tell.
#[cfg(unix)]
pub fn name(index: usize) -> Option<String> {
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    let driver = driver(index)?;
    // SAFETY: `CUresult cuDeviceGetName(char *, int, CUdevice)`; a device is its number.
    let name: Symbol<'_, Name> = unsafe { driver.get(b"cuDeviceGetName\0") }.ok()?;
    let mut text = [0 as c_char; 256];
    // SAFETY: the text has as much room as is told.
    if unsafe { name(text.as_mut_ptr(), text.len() as c_int, index as c_int) } != 0 {
        return None;
    }
    // SAFETY: the driver ends the text with a zero byte.
    Some(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
}

/// NVIDIA's number of what GPU `index` can do, such as `[9, 0]` of an H100; bf16 and TF32 came with 8.
#[cfg(unix)]
pub fn capability(index: usize) -> Option<[u32; 2]> {
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    /// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
    const NUMBERS: [c_int; 2] = [75, 76];
    let driver = driver(index)?;
    // SAFETY: `CUresult cuDeviceGetAttribute(int *, CUdevice_attribute, CUdevice)`.
    let ask: Symbol<'_, Attribute> = unsafe { driver.get(b"cuDeviceGetAttribute\0") }.ok()?;
    let mut found = [0; 2];
    for (number, value) in NUMBERS.into_iter().zip(&mut found) {
        let mut told: c_int = 0;
        // SAFETY: one number to write to, for a GPU that exists.
        if unsafe { ask(&mut told, number, index as c_int) } != 0 {
            return None;
        }
        *value = u32::try_from(told).ok()?;
    }
    Some(found)
}

/// The version of LibTorch, such as `2.9.0`.
pub fn version() -> String {
    // SAFETY: a text that LibTorch's headers hold, which lives as long as the program.
    unsafe { CStr::from_ptr(moco_torch_version()) }.to_string_lossy().into_owned()
}

/// Systems on which nothing is known of a GPU.
#[cfg(not(unix))]
pub fn room(_: usize) -> Option<Room> {
    None
}

/// Systems on which nothing is known of a GPU.
#[cfg(not(unix))]
pub fn name(_: usize) -> Option<String> {
    None
}

/// Systems on which nothing is known of a GPU.
#[cfg(not(unix))]
pub fn capability(_: usize) -> Option<[u32; 2]> {
    None
}

/// `values`, row by row, as a tensor of GPU `index`. They are copied to pinned memory before this returns,
/// and from there when the GPU has done what it was asked before, so that the host does not wait for it.
///
/// # Panics
/// If the shape has another number of values, or LibTorch fails: no such GPU, no memory left.
pub fn to_gpu(values: &[f32], shape: &[i64], index: usize) -> Tensor {
    assert_eq!(values.len() as i64, shape.iter().product::<i64>(), "values of the shape");
    let (n, mut result) = (shape.len(), std::ptr::null_mut());
    // SAFETY: as many values as the sizes say, and as many sizes as told, which are read before it returns.
    let words = unsafe {
        moco_torch_to_gpu(values.as_ptr(), shape.as_ptr(), n, index as c_int, &mut result)
    };
    // SAFETY: straight from the call.
    unsafe { check(words) };
    // SAFETY: the call did not fail, so `result` is a tensor made for us alone.
    unsafe { Tensor::from_ptr(result) }
}

/// Bytes that this process uses of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// In tensors now.
    pub now: usize,
    /// In tensors, at most since [`reset_peak`].
    pub peak: usize,
}

/// What this process uses of GPU `index`; `None` where there is no such GPU.
pub fn in_use(index: usize) -> Option<Use> {
    if index >= gpus() {
        return None;
    }
    let (mut now, mut peak) = (0, 0);
    // SAFETY: a GPU that exists, and two numbers to write to.
    let words = unsafe { moco_torch_gpu_bytes(index as c_int, &mut now, &mut peak) };
    // SAFETY: straight from the call.
    unsafe { check(words) };
    Some(Use { now, peak })
}

/// Has the peak of [`in_use`] count from now on.
pub fn reset_peak(index: usize) {
    if index < gpus() {
        // SAFETY: a GPU that exists.
        let words = unsafe { moco_torch_reset_peak(index as c_int) };
        // SAFETY: straight from the call.
        unsafe { check(words) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SYSTEM_RAN_OUT, ran_out};
    use tch::{Device, Kind};

    #[test]
    fn a_permuted_nhwc_tensor_is_channels_last() {
        let nhwc = Tensor::zeros([2, 5, 5, 3], (Kind::Float, Device::Cpu));
        assert!(is_channels_last(&nhwc.permute([0, 3, 1, 2])));
        assert!(!is_channels_last(&nhwc));
        assert!(!is_channels_last(&nhwc.flatten(1, 3)));
    }

    #[test]
    fn a_request_for_too_much_is_told_as_that() {
        let too_much = || Tensor::f_zeros([1 << 46], (Kind::Float, Device::Cpu));
        let message = too_much().expect_err("256 TiB").to_string();
        assert!(ran_out(&message) && message.contains(SYSTEM_RAN_OUT), "{message}");
        assert!(!ran_out("shapes differ"));
    }

    /// Where there is a GPU; elsewhere it is a panic that says whose failure it is.
    #[test]
    fn values_arrive_on_a_gpu_in_their_order() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let sent = std::panic::catch_unwind(|| to_gpu(&values, &[2, 3, 4], 0));
        if gpus() == 0 {
            let message = *sent.expect_err("no GPU").downcast::<String>().unwrap();
            return assert!(message.starts_with(crate::FAILURE), "{message}");
        }
        let (sent, expected) = (sent.unwrap(), Tensor::from_slice(&values).reshape([2, 3, 4]));
        assert!(sent.to_device(Device::Cpu).equal(&expected));
    }

    #[test]
    fn a_gpu_that_is_not_there_has_no_memory_and_no_name() {
        let absent = gpus();
        assert_eq!((room(absent), name(absent), in_use(absent)), (None, None, None));
        assert_eq!(capability(absent), None);
    }
}
