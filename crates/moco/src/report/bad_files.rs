//! `bad_files.csv`: the images that could not be read.

use super::whole::{self, Records};
use super::{Report, ReportError};
use crate::events::Event;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Lists unreadable images with the reason, each once, also over several resumes. The file is
/// made with the first of them.
pub struct BadFiles {
    path: PathBuf,
    file: Option<Records>,
    listed: HashSet<String>,
}

impl BadFiles {
    /// Prepares to write to `path`; an existing list is continued behind its last whole line.
    ///
    /// # Errors
    /// An existing list cannot be read.
    pub fn open(path: &Path) -> Result<BadFiles, ReportError> {
        let listed = bad_file_names(path).map_err(ReportError::at(path))?;
        Ok(BadFiles { path: path.to_owned(), file: None, listed })
    }

    fn append(&mut self, name: &str, reason: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(Records::open(&self.path, whole::table)?),
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        if file.is_empty() {
            writer.write_record(["name", "reason"])?;
        }
        writer.write_record([name, reason])?;
        file.append(&writer.into_inner().map_err(io::Error::other)?)
    }
}

impl Report for BadFiles {
    fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        match event {
            Event::BadFile { name, reason } if self.listed.insert(name.clone()) => {
                self.append(name, reason).map_err(ReportError::at(&self.path))
            }
            _ => Ok(()),
        }
    }
}

/// The names of the unreadable images that a run has listed in the file at `path`, if there is one.
///
/// # Errors
/// The file cannot be read.
pub fn bad_file_names(path: &Path) -> io::Result<HashSet<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let whole = &bytes[..whole::table(&bytes)];
    let records = csv::ReaderBuilder::new().flexible(true).from_reader(whole).into_byte_records();
    // A line that makes no sense names no image.
    let names = records.filter_map(|record| Some(record.ok()?.get(0)?.to_vec()));
    Ok(names.map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
}
