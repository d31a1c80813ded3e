//! A lock on a folder, so that two processes do not write the same run.
//!
//! The lock is the system's own on a file in the folder: it ends with the process that holds it,
//! however that ends. The file stays, and says who has, or had, the folder.

use super::RunDirError;
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::process;

/// The file that is locked.
pub(super) const NAME: &str = ".lock";

/// A folder that is this process's own until the value is dropped.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
    /// Why the folder is not locked, on a file system without locks.
    pub note: Option<String>,
}

impl FolderLock {
    /// Locks `folder`, which exists.
    ///
    /// # Errors
    /// [`RunDirError::InUse`] if another process has it, [`RunDirError::Unwritable`] if no file can
    /// be made there.
    pub(super) fn take(folder: &Path) -> Result<FolderLock, RunDirError> {
        let path = folder.join(NAME);
        let unwritable = |source| RunDirError::Unwritable { path: folder.into(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mut file = file.map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {
                // Whoever finds the folder locked is told by whom; the lock holds without it.
                let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", this_process()));
                Ok(FolderLock { _file: file, note: None })
            }
            Err(TryLockError::WouldBlock) => Err(in_use(folder, &path)),
            Err(TryLockError::Error(reason)) => {
                let note = format!(
                    "{} cannot be locked ({reason}): see to it that no other run writes there",
                    folder.display()
                );
                Ok(FolderLock { _file: file, note: Some(note) })
            }
        }
    }
}

fn in_use(folder: &Path, lock: &Path) -> RunDirError {
    // Another process is writing its name at this moment, or the system hides a locked file.
    let by = fs::read_to_string(lock).unwrap_or_default().trim().to_owned();
    let by = if by.is_empty() { "another process".to_owned() } else { by };
    RunDirError::InUse { path: folder.into(), by }
}

/// `process 1234 on host x since 2026-11-29 12:01 UTC`.
fn this_process() -> String {
    let now = Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let host = host().map_or_else(String::new, |host| format!(" on host {host}"));
    format!("process {}{host} since {now}", process::id())
}

#[cfg(unix)]
fn host() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn host() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}
