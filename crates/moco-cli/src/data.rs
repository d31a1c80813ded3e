//! Data sets as the command line names them.

use moco_data::{DataError, Dataset, Notice, OpenOptions};
use std::path::Path;
use std::sync::Arc;

/// Opens a data set; what takes long or takes space is announced on stderr.
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    let notice: Notice = Arc::new(|text: &str| eprintln!("{text}"));
    OpenOptions { notice: Some(notice), ..OpenOptions::default() }.open(path)
}
