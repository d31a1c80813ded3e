//! Data sets as the command line names them.

use moco_data::{DataError, Dataset, Notice, OpenOptions};
use std::path::Path;
use std::sync::Arc;

/// Opens a data set and says on stderr what it was taken to be and what was passed over; what takes
/// long or takes space is announced there too.
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    let notice: Notice = Arc::new(|text: &str| eprintln!("{text}"));
    let dataset = OpenOptions { notice: Some(notice), ..OpenOptions::default() }.open(path)?;
    eprintln!("{}: {} images, {}", path.display(), dataset.len(), dataset.holdings());
    Ok(dataset)
}
