//! Checkpoints of the family's codes, read into named tensors of ours.
//!
//! ```text
//! file or folder ─► read: Checkpoint (names and tensors of the file) ─► layout: which code wrote it,
//! which of its names is which of ours ─► Weights: architecture, tensors, heads, input, report
//! ```
//!
//! - [`open`] does all of it. [`read::open`] only reads a file.
//! - No pickle is ever executed: its opcodes become values, and of calls only those that rebuild a
//!   tensor are understood.
//! - The architecture is told from keys and shapes. What is not in them (attention heads, epsilon,
//!   the image's normalisation) comes from a configuration beside the file, from the caller, or from
//!   the layout's table, and the report says which.
//!
//! This crate knows no tensors of Burn's and no methods.

mod architecture;
mod error;
pub mod hub;
mod import;
mod infer;
pub mod layout;
mod own;
mod positions;
pub mod read;
mod report;
mod resize;
mod tensor;
mod weights;

pub use architecture::{
    Architecture, FinalNorm, HeadsFrom, Interpolation, Mlp, PatchStem, Pool, Positions, ResNet,
    ResNetStem, ResidualBlock, Vit,
};
pub use error::WeightsError;
pub use import::{import, open};
pub use layout::LayoutName;
pub use report::{Left, Report};
pub use resize::{convert_channels, resize_positions};
pub use tensor::{Dtype, Named, Values};
pub use weights::{IMAGENET, Input, Options, Section, UNIT, Weights};
