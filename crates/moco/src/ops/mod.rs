//! Operations on tensors: one folder each, with one place that chooses the engine.
//!
//! Every operation is a pure function of tensors. Its folder holds `mod.rs` (what it computes, with
//! the one dispatch), `cpu.rs` (a node of the autodiff graph over our CPU kernels) and `stock.rs`
//! (the same by Burn's own operations, on every device, and the reference of its tests), and with the
//! feature `libtorch` a `torch.rs` (a node over LibTorch's operations). Layers and
//! losses call operations; none of them knows which [`Engine`] runs.

pub mod attention;
pub mod batch_norm;
pub mod block;
pub mod conv;
pub mod cross_entropy;
mod engine;
mod epilogue;
pub(crate) mod flex;
mod frozen;
pub mod gelu;
pub mod info_nce;
pub mod layer_norm;
pub mod linear;
pub mod pool;
#[cfg(test)]
mod tests;
#[cfg(feature = "libtorch")]
#[expect(deprecated, reason = "Burn's only backend that calls cuDNN; nothing else knows it")]
mod torch;
pub mod update;

pub use engine::Engine;
pub use epilogue::Epilogue;
pub(crate) use frozen::Frozen;
