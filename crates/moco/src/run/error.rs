//! Why a run's folder, or its newest checkpoint, cannot be used.

use crate::checkpoint::CheckpointError;
use crate::files::shell_word;
use std::io;
use std::path::PathBuf;

/// Why a folder cannot be used for a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunDirError {
    /// Something else lies there.
    #[error("{} is not empty: give --out a new or empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// A run lies there.
    #[error("{} already holds a run: continue it with `moco pretrain --resume {}`, or give --out a new folder", .0.display(), shell_word(.0))]
    HoldsRun(PathBuf),
    /// Another process writes there.
    #[error("`{}` is in use by {by}; stop it, or give another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, its host and since when.
        by: String,
    },
    /// It cannot be created or written.
    #[error("cannot write to {}: {source}; {}", path.display(), mend(source))]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is there, and cannot be listed.
    #[error("cannot read {}: {source}; see to its disk and its permissions", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No run lies there.
    #[error("{} holds no run to resume (no checkpoints/step-*.safetensors in it)", .0.display())]
    NoCheckpoint(PathBuf),
    /// There are checkpoints, and none is whole.
    #[error("no checkpoint in {} can be used, the last because {reason}: start a new run with --out", path.display())]
    AllDamaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong with the newest.
        reason: String,
    },
}

/// Why the newest checkpoint of a run cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LatestError {
    /// There is none.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// It cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// What to do about a folder that cannot be written.
fn mend(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there, or give --out a folder on another disk"
        }
        _ => "give --out a folder that you may write to",
    }
}
