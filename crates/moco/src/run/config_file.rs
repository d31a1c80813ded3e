//! The configuration file in a run's folder.

use super::RunDir;
use super::encoder::{EncoderError, in_file};
use crate::checkpoint::{CheckpointError, write_atomically};
use crate::config::ConfigError;
use crate::plan::{Plan, parse_run};
use std::fs;
use std::io::ErrorKind;

/// Why a run's configuration cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteConfigError {
    /// TOML cannot hold it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] CheckpointError),
}

impl RunDir {
    /// Reads the configuration of the run in this folder.
    ///
    /// # Errors
    /// [`EncoderError::NoRun`], [`EncoderError::Unreadable`] or [`EncoderError::InFile`].
    pub fn read_config(&self) -> Result<Plan, EncoderError> {
        let path = self.config();
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                EncoderError::NoRun(self.path().into())
            }
            _ => EncoderError::Unreadable { path: path.clone(), source },
        })?;
        parse_run(&text).map_err(|error| in_file(&path, error))
    }

    /// Writes the resolved configuration, which `--recipe` takes and a resume needs; it is there
    /// whole or not at all.
    ///
    /// # Errors
    /// [`WriteConfigError`].
    pub fn write_config(&self, config: &Plan) -> Result<(), WriteConfigError> {
        let text = format!(
            "# The whole configuration of this run, written by moco {}.\n\n{}",
            env!("CARGO_PKG_VERSION"),
            config.to_toml()?
        );
        let path = self.config();
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        Ok(write_atomically(&path, text.as_bytes())?)
    }
}
