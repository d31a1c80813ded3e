//! `metrics.jsonl`: one JSON object per line, for programs.

use super::whole::{self, Records};
use super::{Report, ReportError, is_logged, object};
use crate::events::Event;
use crate::files::write_whole;
use serde_json::{Map, Value};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes steps and epochs as JSON objects, one a line, told apart by `kind`.
pub struct JsonLines {
    path: PathBuf,
    file: Records,
    log_steps: usize,
}

impl JsonLines {
    /// Opens or creates the file at `path`. Lines past `first_step`, written by a run that went
    /// on beyond its last checkpoint, are dropped, and so is a line that is not whole.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(
        path: &Path,
        first_step: usize,
        log_steps: usize,
    ) -> Result<JsonLines, ReportError> {
        let file = open_after(path, first_step).map_err(ReportError::at(path))?;
        Ok(JsonLines { path: path.to_owned(), file, log_steps })
    }
}

impl Report for JsonLines {
    fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        let is_kept = match event {
            Event::Step(step) => is_logged(step.step, self.log_steps),
            Event::Epoch(_) => true,
            _ => false,
        };
        if !is_kept {
            return Ok(());
        }
        let line = format!("{}\n", object(event));
        self.file.append(line.as_bytes()).map_err(ReportError::at(&self.path))
    }
}

/// The file, ready to append to, with only whole lines of steps up to `first_step`.
fn open_after(path: &Path, first_step: usize) -> io::Result<Records> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n') && step_of(line).is_some_and(|step| step <= first_step))
        .collect();
    if kept != text {
        write_whole(path, |out| out.write_all(kept.as_bytes()))?;
    }
    Records::open(path, whole::lines)
}

fn step_of(line: &str) -> Option<usize> {
    let object: Map<String, Value> = serde_json::from_str(line).ok()?;
    usize::try_from(object.get("step")?.as_u64()?).ok()
}

/// Mean loss and kNN accuracy of the last epoch that the file at `path` reports up to `step`.
pub fn last_epoch(path: &Path, step: usize) -> Option<(f64, Option<f64>)> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let objects = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let epoch = |object: &Value| {
        object["kind"] == "epoch" && object["step"].as_u64().is_some_and(|at| at <= step as u64)
    };
    let last = objects.rev().find(epoch)?;
    Some((last["loss"].as_f64()?, last["knn"].as_f64()))
}
