//! The functions of `shim.cpp`, and how their failures and tensors become ours.

use crate::FAILURE;
use std::ffi::{CStr, c_char, c_int, c_void};
use tch::Tensor;
use torch_sys::C_tensor;

/// A tensor behind a pointer that lives in Rust's handle.
pub type Borrowed = *mut C_tensor;

/// Several of them.
pub type List = *const Borrowed;

/// Free and total bytes of the current GPU, and a status that is 0 if they were told.
pub type MemoryInfo = unsafe extern "C" fn(*mut usize, *mut usize) -> c_int;

unsafe extern "C" {
    pub fn moco_torch_vjp(
        outs: List,
        d_outs: List,
        n_outs: usize,
        inputs: List,
        n: usize,
        results: *mut Borrowed,
    ) -> *mut c_char;
    pub fn moco_torch_average(theta: List, target: List, n: usize, weight: f64) -> *mut c_char;
    pub fn moco_torch_sgd(
        p: List,
        g: List,
        v: List,
        n: usize,
        lr: f64,
        momentum: f64,
        decay: f64,
        nesterov: bool,
    ) -> *mut c_char;
    pub fn moco_torch_adam(
        p: List,
        g: List,
        m: List,
        s: List,
        steps: List,
        n: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        decay: f64,
        eps: f64,
        decoupled: bool,
    ) -> *mut c_char;
    pub fn moco_torch_lars(
        p: List,
        g: List,
        v: List,
        n: usize,
        lr: f64,
        momentum: f64,
        decay: f64,
        trust: f64,
        eps: f64,
        adapted: bool,
        sum: bool,
        limited: bool,
        rate_inside: bool,
    ) -> *mut c_char;
    pub fn moco_torch_unscale(g: List, n: usize, factor: f64, found: *mut Borrowed) -> *mut c_char;
    pub fn moco_torch_autocast(device: c_int, dtype: c_int) -> *mut c_char;
    pub fn moco_torch_allow_tf32(allow: bool) -> *mut c_char;
    pub fn moco_torch_channels_last(t: Borrowed) -> c_int;
    pub fn moco_torch_gpu_bytes(index: c_int, now: *mut usize, peak: *mut usize) -> *mut c_char;
    pub fn moco_torch_reset_peak(index: c_int) -> *mut c_char;
    pub fn moco_torch_gpu_room(
        index: c_int,
        info: MemoryInfo,
        free: *mut usize,
        total: *mut usize,
        status: *mut c_int,
    ) -> *mut c_char;
    pub fn moco_torch_to_gpu(
        values: *const f32,
        sizes: *const i64,
        n: usize,
        index: c_int,
        result: *mut Borrowed,
    ) -> *mut c_char;
    pub fn moco_torch_version() -> *const c_char;
    fn free(words: *mut c_void);
}

/// The words of a failure, if it is one.
///
/// # Safety
/// `words` is what one of these functions returned: null, or a text that nobody else frees.
pub unsafe fn failure(words: *mut c_char) -> Option<String> {
    if words.is_null() {
        return None;
    }
    // SAFETY: not null, hence a text that ends with a zero byte, by strdup.
    let text = unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned();
    // SAFETY: strdup's memory is malloc's, and it is freed once.
    unsafe { free(words.cast()) };
    Some(text)
}

/// Panics if a call failed.
///
/// # Safety
/// As [`failure`].
pub unsafe fn check(words: *mut c_char) {
    // SAFETY: the caller says that `words` is null or a text of the shim, as `failure` asks.
    if let Some(text) = unsafe { failure(words) } {
        panic!("{FAILURE}{}", text.lines().next().unwrap_or_default());
    }
}

/// The tensors behind handles that outlive the call.
pub fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<Borrowed> {
    tensors.into_iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
}
