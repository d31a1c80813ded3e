//! Data sets as the command line names them.
//!
//! Of several ranks the first lists what lies there and tells the others, which would ask the same
//! disk for the same millions of names.

use crate::ranks::peers;
use moco_data::{DataError, Dataset, Notice, OpenOptions, without_secrets};
use std::path::Path;
use std::sync::Arc;

/// Opens a data set, of which rank 0 tells all ranks, and says on stderr what it is. A collective call.
pub fn open_together(path: &Path) -> Result<Dataset, DataError> {
    if peers().alone() {
        return open(path);
    }
    // Where it cannot, all ranks end, without being told.
    let own = if peers().speaks() { Some(open(path)?) } else { None };
    let told = own.as_ref().and_then(Dataset::told).unwrap_or_default();
    let told = peers().tell(told, "list of images");
    match own {
        Some(own) => Ok(own),
        // What is quick to open is not told, nor found where it lies elsewhere on this machine.
        None => Dataset::from_told(&told, &options()).map_or_else(|| open_unsaid(path), Ok),
    }
}

/// Opens a data set and says on stderr, in one line, what it was taken to be and what was passed
/// over; what takes long or takes space is announced there too.
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    let dataset = open_unsaid(path)?;
    let images = if dataset.len() == 1 { "image" } else { "images" };
    let mut line = format!(
        "{}: {} {images}, {}",
        without_secrets(path).display(),
        dataset.len(),
        dataset.holdings()
    );
    if let Some(first) = dataset.skipped().first() {
        let count = dataset.skipped().len();
        line += &format!("; left out: {count}, such as `{}` ({})", first.name, first.reason);
    }
    eprintln!("{line}");
    if let Some(note) = dataset.depth_note() {
        eprintln!("note: {note}, unless they do");
    }
    Ok(dataset)
}

/// What takes long is said on stderr.
fn options() -> OpenOptions {
    let notice: Notice = Arc::new(|text: &str| eprintln!("{text}"));
    OpenOptions { notice: Some(notice), ..OpenOptions::default() }
}

/// As [`open`], for a command whose output tells what the data set was taken to be.
pub fn open_unsaid(path: &Path) -> Result<Dataset, DataError> {
    options().open(path)
}
