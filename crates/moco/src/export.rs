//! Encoders as files that other programs load.

use crate::checkpoint::{
    CheckpointError, TensorFile, Texts, check_finite, host_tensors, write_tensors,
};
use crate::config::{ConfigError, RunConfig};
use crate::models::Encode;
use std::path::Path;

/// Naming of the exported tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `backbone.layer1.0.conv1.weight` and `head.output.weight`: backbone and head.
    Moco,
    /// `layer1.0.conv1.weight`: the backbone alone, as `torchvision.models` names it. Loads with
    /// `load_state_dict(strict=True)` once `fc` is replaced by `Identity`.
    Torchvision,
}

/// What made an encoder; it stands in the encoder's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Version of this program.
    pub version: String,
    /// Steps that the encoder was trained for.
    pub step: usize,
    /// The whole configuration of the run, as TOML.
    pub config: String,
}

impl Origin {
    /// The origin of an encoder that this program trained for `step` steps as `config` says.
    ///
    /// # Errors
    /// As [`RunConfig::to_toml`].
    pub fn new(config: &RunConfig, step: usize) -> Result<Origin, ConfigError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Origin { version, step, config: config.to_toml()? })
    }

    pub(crate) fn texts(&self) -> Texts {
        let texts = [
            ("moco.version", self.version.clone()),
            ("moco.step", self.step.to_string()),
            ("moco.config", self.config.clone()),
        ];
        texts.map(|(name, text)| (name.to_owned(), text)).into()
    }
}

/// Writes an encoder as safetensors, parameters and BatchNorm statistics.
///
/// # Errors
/// [`CheckpointError::Io`] when the file cannot be written, [`CheckpointError::NotFinite`] when the
/// encoder is broken.
pub fn save_encoder(
    encoder: &mut dyn Encode,
    path: &Path,
    names: Names,
) -> Result<(), CheckpointError> {
    save_encoder_of(encoder, path, names, None)
}

/// As [`save_encoder`], with what made the encoder.
///
/// # Errors
/// As [`save_encoder`].
pub fn save_encoder_of(
    encoder: &mut dyn Encode,
    path: &Path,
    names: Names,
    origin: Option<&Origin>,
) -> Result<(), CheckpointError> {
    let (tensors, format) = match names {
        Names::Moco => (host_tensors(encoder), "moco"),
        Names::Torchvision => (host_tensors(encoder.backbone()), "pt"),
    };
    check_finite(path, &tensors)?;
    let mut texts = origin.map(Origin::texts).unwrap_or_default();
    texts.insert("format".to_owned(), format.to_owned());
    write_tensors(path, &tensors, texts)
}

/// What made the encoder at `path`; `None` if the file does not tell, as those of early versions.
///
/// # Errors
/// [`CheckpointError`] when the file cannot be read or is damaged.
pub fn read_origin(path: &Path) -> Result<Option<Origin>, CheckpointError> {
    let file = TensorFile::open(path)?;
    let text = |name| file.text(name).map(str::to_owned);
    let step = text("moco.step").and_then(|step| step.parse().ok());
    let parts = text("moco.version").zip(step).zip(text("moco.config"));
    Ok(parts.map(|((version, step), config)| Origin { version, step, config }))
}
