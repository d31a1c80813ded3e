//! The folder of a run: what lies where, and which checkpoint is the last good one.

use crate::checkpoint::{self, CheckpointError, Meta};
use std::fs;
use std::path::{Path, PathBuf};

/// Paths of a run's files.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// Why a folder cannot be used for a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunDirError {
    /// Something else lies there.
    #[error("{} is not empty: give --out a new or empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// A run lies there.
    #[error("{} already holds a run: continue it with `moco pretrain --resume {}`, or give --out a new folder", .0.display(), .0.display())]
    HoldsRun(PathBuf),
    /// It cannot be created or written.
    #[error("cannot write to {}: {source}; give --out a folder that you may write to", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No run lies there.
    #[error("{} holds no run to resume (no checkpoints/step-*.safetensors in it)", .0.display())]
    NoCheckpoint(PathBuf),
}

impl RunDir {
    /// The files of a run at `path`, whether or not they exist.
    pub fn at(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Creates the folder for a new run and proves that it can be written.
    ///
    /// # Errors
    /// [`RunDirError`] when it is not empty or cannot be written.
    pub fn create(path: &Path) -> Result<Self, RunDirError> {
        let unwritable = |source| RunDirError::Unwritable { path: path.into(), source };
        let dir = Self::at(path);
        if path.exists() {
            let mut entries = fs::read_dir(path).map_err(unwritable)?;
            if dir.config().exists() || dir.checkpoints().exists() {
                return Err(RunDirError::HoldsRun(path.into()));
            }
            if entries.next().is_some() {
                return Err(RunDirError::NotEmpty(path.into()));
            }
        }
        fs::create_dir_all(path).map_err(unwritable)?;
        let probe = path.join(".write-test");
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(unwritable)?;
        Ok(dir)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The trained encoder.
    pub fn encoder(&self) -> PathBuf {
        self.0.join("encoder.safetensors")
    }

    fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// File of the checkpoint after `step` steps.
    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.checkpoints().join(format!("step-{step:08}.safetensors"))
    }

    /// Checkpoints on disk, oldest first. Unfinished temporary files do not count.
    pub fn list_checkpoints(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.checkpoints())
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("step-") && name.ends_with(".safetensors")
            })
            .collect();
        found.sort();
        found
    }

    /// The newest checkpoint and what it says about itself.
    ///
    /// # Errors
    /// [`RunDirError::NoCheckpoint`] if there is none, or the reason why it cannot be read.
    pub fn latest(&self) -> Result<(PathBuf, Meta), LatestError> {
        let newest = self.list_checkpoints().pop();
        let path = newest.ok_or_else(|| RunDirError::NoCheckpoint(self.0.clone()))?;
        let meta = checkpoint::read_meta(&path)?;
        Ok((path, meta))
    }

    /// Makes room for checkpoints.
    pub(crate) fn create_checkpoints(&self) -> Result<(), RunDirError> {
        let path = self.checkpoints();
        fs::create_dir_all(&path).map_err(|source| RunDirError::Unwritable { path, source })
    }

    /// Deletes all but the newest `keep` checkpoints.
    pub(crate) fn prune(&self, keep: usize) {
        let all = self.list_checkpoints();
        let surplus = all.len().saturating_sub(keep.max(1));
        for old in &all[..surplus] {
            // A file that cannot be deleted costs space, not correctness.
            let _ = fs::remove_file(old);
        }
    }
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
