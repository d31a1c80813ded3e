//! The encoder that a run left, with the configuration that made it.

use super::RunDir;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::eval::FrozenEncoder;
use crate::export::{ExportError, Origin, read_origin};
use crate::files::shell_word;
use crate::plan::{Difference, Plan, differences, parse_run};
use crate::pretrained::{ImportError, Imported, Pretrained, read_imported};
use burn::tensor::Device;
use moco_weights::WeightsError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml::Value;

/// Why the encoder of a run, or its configuration, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// There is no configuration.
    #[error("{} holds no run (it has no config.toml): give the folder that `moco pretrain --out` wrote", .0.display())]
    NoRun(PathBuf),
    /// The configuration cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file holds a configuration that makes no sense.
    #[error("in {}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ConfigError>,
    },
    /// The run ended before its first encoder was written.
    #[error("no encoder in {}: it is written at the end of the first epoch", .0.display())]
    NoEncoder(PathBuf),
    /// The encoder's file is not whole.
    #[error("{} is damaged: delete it and run `moco pretrain --resume {}`, which writes it anew", path.display(), shell_word(run))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The run's folder.
        run: PathBuf,
    },
    /// A file of ours that lies in no run's folder is not whole.
    #[error("{} is damaged: copy it again", .0.display())]
    DamagedFile(PathBuf),
    /// A file of ours that does not make a network again.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// Weights of another program cannot be read or understood.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights of another program make no network here.
    #[error(transparent)]
    Import(Box<ImportError>),
    /// The encoder does not fit into this machine's memory, or its settings cannot be compared.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be loaded.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl From<ExportError> for EncoderError {
    fn from(error: ExportError) -> Self {
        EncoderError::Export(Box::new(error))
    }
}

impl From<ImportError> for EncoderError {
    fn from(error: ImportError) -> Self {
        EncoderError::Import(Box::new(error))
    }
}

/// An encoder with what is known of it.
pub struct TrainedEncoder {
    /// The network with its weights and the view that it expects.
    pub encoder: FrozenEncoder,
    /// The configuration that made it; of imported weights, that of a run that would have left such a
    /// backbone.
    pub config: Plan,
    /// Where imported weights are from.
    pub imported: Option<Imported>,
    /// What there is to say about the run's files, a sentence each.
    pub notes: Vec<String>,
}

impl From<Pretrained> for TrainedEncoder {
    fn from(pretrained: Pretrained) -> Self {
        let Pretrained { frozen: encoder, config, imported } = pretrained;
        Self { encoder, config, imported: Some(imported), notes: Vec::new() }
    }
}

/// The encoder that the run in the folder `run` left, or imported weights that were written there,
/// ready for [`crate::eval::features`].
///
/// Its file holds the configuration that made it. `config.toml` is believed in settings that change
/// no weight; what it says otherwise is told in [`TrainedEncoder::notes`].
///
/// # Errors
/// [`EncoderError`].
pub fn load_encoder(run: &Path, device: &Device) -> Result<TrainedEncoder, EncoderError> {
    let dir = RunDir::at(run);
    if is_ours(&dir.encoder())
        && let Some(imported) = read_imported(&dir.encoder(), device)?
    {
        return Ok(imported.into());
    }
    let mut notes = Vec::new();
    let config = encoder_config(&dir, &mut notes)?;
    let path = dir.encoder();
    if !fs::exists(&path).unwrap_or(true) {
        return Err(EncoderError::NoEncoder(run.into()));
    }
    let damaged = || EncoderError::Damaged { path: path.clone(), run: run.into() };
    let encoder = filled(&config, &path, device, damaged)?;
    Ok(TrainedEncoder { encoder, config, imported: None, notes })
}

/// Whether a file says that it is an encoder of this program.
pub(super) fn is_ours(path: &Path) -> bool {
    path.is_file() && matches!(read_origin(path), Ok(Some(_)))
}

/// A run's network with the weights in a file.
pub(super) fn filled(
    config: &Plan,
    file: &Path,
    device: &Device,
    damaged: impl FnOnce() -> EncoderError,
) -> Result<FrozenEncoder, EncoderError> {
    config.check_encoder_memory()?;
    let mut frozen = FrozenEncoder::new(config.encoder(device), config.eval_view().clone(), device);
    match frozen.load(file) {
        Ok(()) => Ok(frozen),
        Err(CheckpointError::Malformed { .. }) => Err(damaged()),
        Err(other) => Err(other.into()),
    }
}

/// The configuration that made a run's encoder, with what `config.toml` says of settings that change
/// no weight.
fn encoder_config(run: &RunDir, notes: &mut Vec<String>) -> Result<Plan, EncoderError> {
    let path = run.encoder();
    // Whatever is wrong with the file is told when its weights are loaded.
    let origin = read_origin(&path).ok().flatten();
    let Some(Origin { config, .. }) = origin else { return run.read_config() };
    let made = parse_run(&config).map_err(|error| in_file(&path, error))?;
    let written = match run.read_config() {
        Ok(written) => written,
        Err(error) => {
            notes.push(format!("{error}; the configuration in {} is used", path.display()));
            return Ok(made);
        }
    };
    let (taken, refused): (Vec<_>, Vec<_>) =
        differences(&made, &written)?.into_iter().partition(Difference::may_change);
    notes.extend(refused.iter().map(|difference| told(run, difference)));
    Ok(made.with_second(&taken)?)
}

pub(super) fn in_file(path: &Path, error: ConfigError) -> EncoderError {
    EncoderError::InFile { path: path.into(), source: error.into() }
}

fn told(run: &RunDir, Difference { key, first, second }: &Difference) -> String {
    let value = |value: &Option<Value>| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("no {key}"),
    };
    format!(
        "{} says {}, but the encoder was made with {}, which is used",
        run.config().display(),
        value(second),
        value(first)
    )
}
