//! The folder of a run: what lies where, and which checkpoint is the last good one.

use super::error::{LatestError, RunDirError};
use super::lock::{FolderLock, NAME as LOCK};
use crate::checkpoint::{Checkpoint, CheckpointError, write_with};
use crate::files::{CONFIG, ENCODER};
use crate::plan::parse_run;
use moco_data::{Dataset, FileList};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the names of files begin and end that were being written when a run was killed.
const UNFINISHED: ([&str; 6], [&str; 2]) =
    (["config.", "encoder.", "images.", "metrics.", "step-", "summary."], [".tmp", ".partial"]);
/// Files that a run leaves before it has learnt anything: of no value without a checkpoint.
const OF_NO_VALUE: [&str; 8] = [
    LOCK,
    CONFIG,
    "images.txt.gz",
    "metrics.jsonl",
    "run.log",
    "bad_files.csv",
    "summary.json",
    ".write-test",
];
/// What the names of TensorBoard's files begin with.
const EVENTS: &str = "events.out.tfevents.";
/// Name of the folder of checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// Paths of a run's files, and the lock on its folder if this process writes there.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: Option<Arc<FolderLock>>,
}

impl RunDir {
    /// The files of a run at `path`, whether or not they exist, to be read.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), lock: None }
    }

    /// Creates the folder for a new run and locks it.
    ///
    /// One that holds nothing of value, as a run leaves it that was killed in its first instants, is
    /// cleared and taken.
    ///
    /// # Errors
    /// [`RunDirError`] when it is not empty, is in use or cannot be written.
    pub fn create(path: &Path) -> Result<Self, RunDirError> {
        Self::check_new(path)?;
        let dir = Self::create_shared(path)?;
        // Another process may have begun a run there meanwhile.
        dir.check_empty()?;
        dir.clear()?;
        Ok(dir)
    }

    /// Creates a folder unless it is there, whatever is in it, and locks it.
    ///
    /// # Errors
    /// [`RunDirError`] when it is in use or cannot be written.
    pub fn create_shared(path: &Path) -> Result<Self, RunDirError> {
        fs::create_dir_all(path)
            .map_err(|source| RunDirError::Unwritable { path: path.into(), source })?;
        Self::locked(path)
    }

    /// The run in a folder, to go on with it: locked, if there is one.
    ///
    /// # Errors
    /// [`RunDirError`] when it is in use or cannot be written.
    pub fn resume(path: &Path) -> Result<Self, RunDirError> {
        let dir = Self::at(path);
        if dir.holds_run() { Self::locked(path) } else { Ok(dir) }
    }

    /// Checks that a new run may begin in a folder, before anything is made.
    ///
    /// # Errors
    /// [`RunDirError`] when there is something in it.
    pub fn check_new(path: &Path) -> Result<(), RunDirError> {
        let found = Self::at(path).check_empty();
        // Of a run that is being made, the news is by whom.
        if let Err(RunDirError::HoldsRun(_)) = found
            && let Err(in_use @ RunDirError::InUse { .. }) = Self::locked(path)
        {
            return Err(in_use);
        }
        found
    }

    /// Checks that the folder holds nothing of value.
    fn check_empty(&self) -> Result<(), RunDirError> {
        let path = &self.path;
        if !path.exists() {
            return Ok(());
        }
        let entries = fs::read_dir(path)
            .map_err(|source| RunDirError::Unwritable { path: path.clone(), source })?;
        if self.holds_run() {
            return Err(RunDirError::HoldsRun(path.clone()));
        }
        match entries.flatten().all(|entry| self.is_worthless(&entry)) {
            true => Ok(()),
            false => Err(RunDirError::NotEmpty(path.clone())),
        }
    }

    /// Whether there is a run to go on with: a checkpoint, or a whole configuration to start over.
    fn holds_run(&self) -> bool {
        let config = fs::read_to_string(self.config());
        let is_whole = config.is_ok_and(|text| parse_run(&text).is_ok());
        is_whole || self.has_checkpoint().unwrap_or(true)
    }

    /// Whether there is a checkpoint to go on from. A folder that cannot be read may hold one.
    ///
    /// # Errors
    /// [`RunDirError::Unreadable`].
    pub fn has_checkpoint(&self) -> Result<bool, RunDirError> {
        Ok(!self.list_checkpoints()?.is_empty())
    }

    /// Whether nothing is lost with an entry of a folder that holds no run.
    fn is_worthless(&self, entry: &fs::DirEntry) -> bool {
        let name = entry.file_name().to_string_lossy().into_owned();
        OF_NO_VALUE.contains(&name.as_str())
            || is_unfinished(&name)
            || name.starts_with(EVENTS)
            || (name == CHECKPOINTS && holds_only_unfinished(&entry.path()))
    }

    /// Deletes what [`RunDir::check_empty`] found to be worthless.
    fn clear(&self) -> Result<(), RunDirError> {
        let path = &self.path;
        let unwritable = |source| RunDirError::Unwritable { path: path.clone(), source };
        for entry in fs::read_dir(path).map_err(unwritable)?.flatten() {
            let removed = match entry.file_name() {
                name if name == LOCK => continue,
                name if name == CHECKPOINTS => fs::remove_dir_all(entry.path()),
                _ => fs::remove_file(entry.path()),
            };
            removed.map_err(unwritable)?;
        }
        Ok(())
    }

    /// Deletes what was being written when the run was killed.
    pub(crate) fn remove_unfinished(&self) {
        for folder in [self.path.clone(), self.checkpoints()] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if is_unfinished(&entry.file_name().to_string_lossy()) {
                    // A file that cannot be deleted costs space, not correctness.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    fn locked(path: &Path) -> Result<Self, RunDirError> {
        let lock = FolderLock::take(path)?;
        Ok(Self { path: path.to_path_buf(), lock: Some(Arc::new(lock)) })
    }

    /// What there is to say if the folder is on a file system without locks.
    pub fn lock_note(&self) -> Option<&str> {
        self.lock.as_ref()?.note.as_deref()
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The trained encoder.
    pub fn encoder(&self) -> PathBuf {
        self.path.join(ENCODER)
    }

    /// What the steps and epochs came to, one JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The images that could not be read.
    pub fn bad_files(&self) -> PathBuf {
        self.path.join("bad_files.csv")
    }

    /// The names and sizes of the images that the run began with.
    pub fn images(&self) -> PathBuf {
        self.path.join("images.txt.gz")
    }

    /// Writes the list of images.
    pub(crate) fn write_images(&self, dataset: &Dataset) -> Result<(), CheckpointError> {
        write_with(&self.images(), |out| dataset.write_list(out))
    }

    /// The list of images; `None` if there is none, as in runs of early versions, or a damaged one.
    pub(crate) fn read_images(&self) -> Option<FileList> {
        FileList::read(File::open(self.images()).ok()?).ok()
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// File of the checkpoint after `step` steps.
    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.checkpoints().join(format!("step-{step:08}.safetensors"))
    }

    /// Checkpoints on disk, oldest first. Unfinished temporary files do not count.
    ///
    /// # Errors
    /// [`RunDirError::Unreadable`].
    pub fn list_checkpoints(&self) -> Result<Vec<PathBuf>, RunDirError> {
        match self.find_checkpoints() {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(source) => Err(RunDirError::Unreadable { path: self.checkpoints(), source }),
            Ok(found) => Ok(found),
        }
    }

    fn find_checkpoints(&self) -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(self.checkpoints())?.map(|entry| Ok(entry?.path()));
        let mut found = paths.collect::<io::Result<Vec<PathBuf>>>()?;
        found.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step-") && name.ends_with(".safetensors")
        });
        found.sort();
        Ok(found)
    }

    /// The newest checkpoint that is whole. Newer ones that are damaged are renamed, so that they no
    /// longer count, and each is told in a sentence.
    ///
    /// # Errors
    /// [`RunDirError`] if there is none, or the reason why one cannot be read.
    pub fn latest(&self) -> Result<(Checkpoint, Vec<String>), LatestError> {
        let mut damaged: Vec<(PathBuf, String)> = Vec::new();
        for path in self.list_checkpoints()?.into_iter().rev() {
            match Checkpoint::open(&path) {
                Ok(checkpoint) => {
                    let notes = damaged.iter().map(|(path, reason)| set_aside(path, reason));
                    return Ok((checkpoint, notes.collect()));
                }
                Err(error @ CheckpointError::Malformed { .. }) => {
                    damaged.push((path, error.to_string()));
                }
                Err(other) => return Err(other.into()),
            }
        }
        let path = self.path.clone();
        Err(match damaged.into_iter().next() {
            Some((_, reason)) => RunDirError::AllDamaged { path, reason }.into(),
            None => RunDirError::NoCheckpoint(path).into(),
        })
    }

    /// Makes room for checkpoints.
    pub(crate) fn create_checkpoints(&self) -> Result<(), RunDirError> {
        let path = self.checkpoints();
        fs::create_dir_all(&path).map_err(|source| RunDirError::Unwritable { path, source })
    }

    /// Deletes all but the newest `keep` checkpoints.
    pub(crate) fn prune(&self, keep: usize) {
        let all = self.list_checkpoints().unwrap_or_default();
        let surplus = all.len().saturating_sub(keep.max(1));
        for old in &all[..surplus] {
            // A file that cannot be deleted costs space, not correctness.
            let _ = fs::remove_file(old);
        }
    }
}

/// Renames a damaged checkpoint and says so.
fn set_aside(path: &Path, reason: &str) -> String {
    let aside = path.with_extension("damaged");
    match fs::rename(path, &aside) {
        Ok(()) => format!("{reason}: it is now {}, and the one before is taken", aside.display()),
        Err(error) => format!("{reason}, and cannot be renamed ({error}): delete it"),
    }
}

fn is_unfinished(name: &str) -> bool {
    let (starts, ends) = UNFINISHED;
    starts.iter().any(|start| name.starts_with(start)) && ends.iter().any(|end| name.ends_with(end))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn holds_only_unfinished(folder: &Path) -> bool {
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
    let unfinished = |entry| name(entry).is_ok_and(|name| is_unfinished(&name.to_string_lossy()));
    fs::read_dir(folder).is_ok_and(|mut entries| entries.all(unfinished))
}
