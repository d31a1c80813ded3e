//! CPU kernels for training encoders: slices in, slices out.
//!
//! ```text
//! conv        conv + BatchNorm + residual + ReLU      ─┐
//! pool        max and global average                   │
//! linear      x Wᵀ + b, alone or with GELU             │
//! gelu        exact and tanh                           ├─ simd (one kernel, every instruction set)
//! layer_norm  over the last dimension                  │  gemm (the register tile, packed products)
//! attention   softmax(Q Kᵀ) V from packed qkv          │  threads (jobs, kept memory)
//! contrast    InfoNCE over a queue or bank             │
//! optim       EMA, SGD, AdamW, LARS in one pass        │
//! machine     what the CPU can do at best             ─┘
//! allocator   large maps side by side, for programs that train
//! ```
//! Every layer forward and backward. Images and feature maps are NHWC, convolution weights OIHW as
//! in PyTorch, everything `f32`. Each function takes an [`Isa`], normally [`Isa::best`], and runs on
//! as many threads as the current rayon pool has, on threads of its own that stay awake for a
//! moment between two calls.
//!
//! What never happens here: no I/O, no tensors, no automatic differentiation, no global state but
//! those threads, memory kept for the next call ([`kept_bytes`]) and the process's allocator, for
//! programs that want it (feature `allocator`). Results do not depend on the
//! number of threads, bit for bit: work is cut by shape alone and sums are added in a fixed order.
//! This is the project's only crate with `unsafe`.
//!
//! ```
//! use moco_kernels::Isa;
//! use moco_kernels::conv::{
//!     BnActNeeds, BnParams, ConvShape, Norm, conv_bn_act_backward, conv_bn_act_forward,
//! };
//!
//! let shape = ConvShape { n: 2, h: 8, w: 8, cin: 3, cout: 16, k: 3, stride: 1, pad: 1 };
//! let (x, weight) = (vec![0.5; shape.x_len()], vec![0.1; shape.weight_len()]);
//! let norm = Norm::Batch { groups: 1 };
//! let bn = BnParams { gamma: &[1.0; 16], beta: &[0.0; 16], eps: 1e-5, norm };
//! let isa = Isa::best();
//! let forward = conv_bn_act_forward(isa, &shape, &x, (&weight).into(), &bn, None, true, true);
//! let (saved, d_out) = (forward.saved.unwrap(), vec![1.0; shape.out_len()]);
//! let needs = BnActNeeds { weight: true, affine: true, ..Default::default() };
//! let out = &forward.out;
//! let grads = conv_bn_act_backward(isa, &shape, &x, &weight, &saved, out, &d_out, needs);
//! assert!(grads.weight.is_some() && grads.x.is_none());
//! ```

pub mod attention;
pub mod contrast;
pub mod conv;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod optim;
pub mod pool;

pub mod machine;

#[cfg(feature = "allocator")]
mod allocator;
mod cpu;
mod gemm;
mod norm;
mod simd;
mod team;
#[cfg(test)]
mod testing;
mod threads;
mod weights;

#[cfg(feature = "allocator")]
pub use allocator::{Allocator, on_exhaustion};
pub use cpu::Isa;
pub use norm::Processes;
pub use threads::kept_bytes;
pub use weights::Weights;
