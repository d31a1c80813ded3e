//! What `tch` lacks of LibTorch, the library under PyTorch.
//!
//! `tch` calls LibTorch's operations one by one. A layer whose inside is LibTorch's own autograd, and a
//! step that costs what PyTorch's costs, need a little more, each a safe function here:
//!
//! | module | what it adds |
//! |---|---|
//! | `autograd` | gradients of outputs that are weighted by a cotangent, not summed |
//! | `update` | SGD, Adam, AdamW, LARS and the moving average of all parameters in one call |
//! | `precision` | autocast to 16 bits, TF32, the gradients of a scaled loss |
//! | `memory` | what a GPU is called and has free; how a tensor lies in memory |
//!
//! Knows nothing of Burn, of networks or of training. Without the feature `libtorch` it is empty, so that
//! nobody needs LibTorch to build the rest.
//!
//! # Panics
//! Where LibTorch fails, as `tch` itself does: with a message that begins with [`FAILURE`]. Shapes
//! and devices are the caller's to have right; memory may run out, see [`ran_out`].

#[cfg(feature = "libtorch")]
pub mod autograd;
#[cfg(feature = "libtorch")]
mod ffi;
#[cfg(feature = "libtorch")]
pub mod memory;
#[cfg(feature = "libtorch")]
pub mod precision;
#[cfg(feature = "libtorch")]
pub mod update;

#[cfg(feature = "libtorch")]
pub use tch;

/// How the message of a failure begins.
pub const FAILURE: &str = "libtorch: ";

/// How LibTorch says that the system, not a GPU, has no memory left.
pub const SYSTEM_RAN_OUT: &str = "DefaultCPUAllocator: can't allocate memory";

/// Whether the message of a panic says that LibTorch, on a GPU or a CPU, had no memory left.
pub fn ran_out(message: &str) -> bool {
    [
        SYSTEM_RAN_OUT,
        "CUDA out of memory",
        "HIP out of memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
    ]
    .iter()
    .any(|words| message.contains(words))
}
