//! Room on the disk for checkpoints: looked at before training and before each save.

use super::TrainError;
use super::outputs::last_good;
use crate::checkpoint::CheckpointError;
use crate::files::{NoRoom, ensure_room, free_space, shell_word};
use crate::nn::{Leaf, Module, for_each_leaf};
use crate::run::RunDir;
use std::io::ErrorKind;

/// Bytes beside the tensors in a file: names, sizes, the configuration.
const HEADER: u64 = 64 << 10;

/// Bytes of the file that holds the state of `module`.
pub(super) fn file_size(module: &mut dyn Module) -> u64 {
    let mut bytes = HEADER;
    for_each_leaf(module, |_, leaf| {
        if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf {
            bytes += tensor.shape().iter().product::<usize>() as u64 * 4;
        }
    });
    bytes
}

/// Checks that the disk of `run` takes `needed` more bytes.
///
/// # Errors
/// [`TrainError::NoRoom`].
pub(super) fn check(run: &RunDir, needed: u64) -> Result<(), TrainError> {
    ensure_room(run.path(), needed).map_err(|full| no_room(run, full))
}

/// The error of a file of `needed` bytes that could not be written: a disk that became full
/// meanwhile, or a user's share of it that is used up, is told as one that was full before.
pub(super) fn explain(run: &RunDir, needed: u64, error: CheckpointError) -> TrainError {
    match &error {
        CheckpointError::Io { source, .. }
            if [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&source.kind()) =>
        {
            let folder = format!("the disk of `{}`", run.path().display());
            // What the disk says by now may be another figure than the one that was too little.
            let free = free_space(run.path()).filter(|free| *free < needed);
            no_room(run, NoRoom { folder, free, needed })
        }
        _ => error.into(),
    }
}

fn no_room(run: &RunDir, full: NoRoom) -> TrainError {
    TrainError::NoRoom { full, run: shell_word(run.path()), last: last_good(run) }
}
