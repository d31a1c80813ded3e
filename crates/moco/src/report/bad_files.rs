//! `bad_files.csv`: the images that could not be read.

use super::{Report, ReportError};
use crate::train::event::Event;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Lists unreadable images with the reason, each once, also over several resumes. The file is
/// made with the first of them.
pub struct BadFiles {
    path: PathBuf,
    writer: Option<csv::Writer<File>>,
    listed: HashSet<String>,
}

impl BadFiles {
    /// Prepares to write to `path`; an existing list is continued.
    ///
    /// # Errors
    /// An existing list cannot be read.
    pub fn open(path: &Path) -> Result<BadFiles, ReportError> {
        let listed = if path.exists() {
            names(path).map_err(|error| ReportError::at(path)(error.into()))?
        } else {
            HashSet::new()
        };
        Ok(BadFiles { path: path.to_owned(), writer: None, listed })
    }

    fn append(&mut self, name: &str, reason: &str) -> csv::Result<()> {
        if self.writer.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let is_new = file.metadata()?.len() == 0;
            let writer = self.writer.insert(csv::Writer::from_writer(file));
            if is_new {
                writer.write_record(["name", "reason"])?;
            }
        }
        if let Some(writer) = &mut self.writer {
            writer.write_record([name, reason])?;
            writer.flush()?;
        }
        Ok(())
    }
}

impl Report for BadFiles {
    fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        match event {
            Event::BadFile { name, reason } if self.listed.insert(name.clone()) => {
                self.append(name, reason).map_err(|error| ReportError::at(&self.path)(error.into()))
            }
            _ => Ok(()),
        }
    }
}

fn names(path: &Path) -> csv::Result<HashSet<String>> {
    csv::Reader::from_path(path)?
        .into_records()
        .map(|record| Ok(record?.get(0).unwrap_or_default().to_owned()))
        .collect()
}
