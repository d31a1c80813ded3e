//! Why an encoder was not exported.

use crate::checkpoint::CheckpointError;
use std::path::PathBuf;

/// Why an encoder could not be written for another program, or a file of one not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no such network, or no such names, where the file is to be read.
    #[error("{reason}: {mend}")]
    Unsupported {
        /// What does not fit.
        reason: String,
        /// What to do instead.
        mend: &'static str,
    },
    /// The file cannot be read or written, or is damaged.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The settings in a file are none of this version.
    #[error("{} holds settings that this version does not read: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// The file says nothing of the network that it is of.
    #[error("{} does not say which network it is of: give the run's folder instead", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// An ONNX file has no room for the weights.
    #[error("{} would take {bytes} bytes and an ONNX file holds no more than 2147483647: export it as .safetensors", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
}

impl ExportError {
    pub(crate) fn unsupported(reason: impl Into<String>, mend: &'static str) -> Self {
        ExportError::Unsupported { reason: reason.into(), mend }
    }
}
