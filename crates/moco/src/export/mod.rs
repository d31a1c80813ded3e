//! Encoders as files that other programs load.
//!
//! ```text
//! tensors ─► part ─► names ─┬─► one file, with a card                 .safetensors
//!                           └─► a folder, with a configuration        timm, Hugging Face
//! network + tensors ─► graph of operations, with a card               .onnx
//! ```
//!
//! Every file says what made it, see [`EncoderCard`].

mod card;
mod error;
mod folder;
mod names;
mod onnx;
mod part;
mod rename;

pub(crate) use card::{CLASSIFIER, PART, facts};
pub use card::{EncoderCard, Origin, describe, open_encoder, read_origin};
pub use error::ExportError;
pub use folder::{FolderKind, save_folder, timm_mlp_ratio};
pub use names::Names;
pub use onnx::{OnnxOptions, save_onnx};
pub use part::{Part, save_state};

use crate::checkpoint::{CheckpointError, Texts, check_finite, host_tensors, write_tensors};
use crate::eval::FrozenEncoder;
use crate::models::{Architecture, Encode};
use crate::plan::Plan;
use moco_data::View;
use std::path::Path;

/// A trained encoder, and what is known of it.
pub struct Source<'a> {
    /// The network.
    pub encoder: &'a mut dyn Encode,
    /// What is done to an image before it is encoded.
    pub view: &'a View,
    /// The network's description.
    pub architecture: Architecture,
    /// The run that trained it, if one of ours did: its method says what lies around the backbone.
    pub run: Option<&'a Plan>,
    /// What made it.
    pub origin: Origin,
}

impl<'a> Source<'a> {
    /// The encoder of a run.
    pub fn of_run(frozen: &'a mut FrozenEncoder, config: &'a Plan, origin: Origin) -> Self {
        let FrozenEncoder { encoder, view, .. } = frozen;
        let architecture = config.network().architecture.clone();
        Self { encoder: encoder.as_mut(), view, architecture, run: Some(config), origin }
    }

    /// What a file of it says besides names and part.
    fn texts(&self) -> Texts {
        let mut texts = self.origin.texts();
        texts.extend(card::facts(self.run, &self.architecture, self.view));
        texts
    }
}

/// Writes an encoder as safetensors, parameters and BatchNorm statistics, under our own names.
///
/// # Errors
/// [`CheckpointError::Io`] when the file cannot be written, [`CheckpointError::NotFinite`] when the
/// encoder is broken.
pub fn save_encoder(encoder: &mut dyn Encode, path: &Path) -> Result<(), CheckpointError> {
    save_encoder_of(encoder, path, None)
}

/// Writes an encoder as [`save_encoder`] does, with what made it.
///
/// # Errors
/// As [`save_encoder`].
pub fn save_encoder_of(
    encoder: &mut dyn Encode,
    path: &Path,
    origin: Option<&Origin>,
) -> Result<(), CheckpointError> {
    let tensors = host_tensors(encoder);
    check_finite(path, &tensors)?;
    let mut texts = origin.map(Origin::described).unwrap_or_default();
    card::add_format(&mut texts, Names::Moco, Part::EncoderAndHead);
    write_tensors(path, &tensors, texts)
}

/// Writes a part of an encoder as one safetensors file, its tensors under `names`.
///
/// # Errors
/// [`ExportError::Unsupported`] where `names` has none for the part or for the network, and those of
/// [`save_encoder`].
pub fn save_named(
    source: &mut Source<'_>,
    path: &Path,
    names: Names,
    part: Part,
) -> Result<(), ExportError> {
    names.check(part, source.run, &source.architecture)?;
    let tensors = part::of_encoder(source.encoder, names, part)?;
    let tensors = rename::tensors(tensors, names, part, source.run, &source.architecture);
    check_finite(path, &tensors)?;
    let mut texts = source.texts();
    card::add_format(&mut texts, names, part);
    Ok(write_tensors(path, &tensors, texts)?)
}
