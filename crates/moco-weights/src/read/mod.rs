//! A file of weights, as its own code named them.

#[allow(dead_code, reason = "the formats follow")]
mod bytes;
mod checkpoint;

pub use checkpoint::{Checkpoint, Skipped, Tensor};
