//! The process's allocator, told to keep what is freed.
//!
//! A training step frees and asks for the same large maps again and again, and each page that the
//! system hands out anew is zeroed first. mimalloc gives freed memory back after about a second:
//! a ResNet-50 step at 224 px and batch 16, which takes longer, then met 23,000 page faults, 5 to
//! 10 % of its time, and a ResNet-18 step at batch 64 met 7,800. Told to keep its memory, mimalloc
//! meets none after the first steps. (Setting `MIMALLOC_PURGE_DELAY=-1` does the same from outside.)

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay` in the `mimalloc.h` of mimalloc 2 and 3.
const PURGE_DELAY: c_int = 15;

/// Makes mimalloc, where it is the global allocator, keep freed memory for the next allocation
/// instead of returning it to the system. For the first line of `main`; what was returned before
/// stays returned.
pub fn keep_freed_memory() {
    // SAFETY: sets a number that the allocator reads atomically; any value is allowed.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, c_long::from(-1i8)) }
}
