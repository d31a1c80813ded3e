//! Observers that write what happens during a run to files in its folder.
//!
//! | file | by |
//! |---|---|
//! | `metrics.jsonl` | [`JsonLines`] |
//! | `events.out.tfevents.*` | [`TensorBoard`] |
//! | `run.log` | [`RunLog`] |
//! | `bad_files.csv`, if there are any | [`BadFiles`] |
//! | `summary.json`, from what [`Gather`] has heard | [`Summary`] |
//!
//! They only listen: training knows none of them, and a report that cannot be written does not
//! end a run.

mod bad_files;
mod json_lines;
mod objects;
mod run_log;
mod story;
mod summary;
mod tensorboard;
mod whole;

pub use bad_files::{BadFiles, bad_file_names};
pub use json_lines::{JsonLines, last_epoch};
pub use objects::object;
pub use run_log::RunLog;
pub use story::{Story, duration, percent};
pub use summary::{Gather, Summary};
pub use tensorboard::TensorBoard;

use crate::events::{Event, Observer};
use std::io;
use std::path::{Path, PathBuf};

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub struct ReportError {
    path: PathBuf,
    source: io::Error,
}

impl ReportError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> ReportError {
        move |source| ReportError { path: path.to_owned(), source }
    }
}

/// One report of a run.
pub trait Report {
    /// Writes what `event` is worth to this report.
    ///
    /// # Errors
    /// The file cannot be written.
    fn record(&mut self, event: &Event) -> Result<(), ReportError>;
}

/// All reports of a run's folder. One that fails is left off, and the run goes on.
pub struct RunFiles {
    reports: Vec<Box<dyn Report>>,
    failed: Vec<ReportError>,
}

impl RunFiles {
    /// Opens the reports in `dir`, which exists, to go on after `first_step` finished steps.
    /// `log_steps` is the distance between two steps in `metrics.jsonl` and `run.log`.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(dir: &Path, first_step: usize, log_steps: usize) -> Result<RunFiles, ReportError> {
        let reports: Vec<Box<dyn Report>> = vec![
            Box::new(JsonLines::open(&dir.join("metrics.jsonl"), first_step, log_steps)?),
            Box::new(TensorBoard::create(dir, first_step)?),
            Box::new(RunLog::open(&dir.join("run.log"), log_steps)?),
            Box::new(BadFiles::open(&dir.join("bad_files.csv"))?),
        ];
        Ok(RunFiles { reports, failed: Vec::new() })
    }

    /// The reports that ended early, and why.
    pub fn failed(&self) -> &[ReportError] {
        &self.failed
    }
}

impl Observer for RunFiles {
    fn event(&mut self, event: &Event) {
        self.reports.retain_mut(|report| match report.record(event) {
            Ok(()) => true,
            Err(error) => {
                self.failed.push(error);
                false
            }
        });
    }
}

/// Passes every event to several observers, in order.
pub struct Tee<'a>(pub Vec<&'a mut dyn Observer>);

impl Observer for Tee<'_> {
    fn event(&mut self, event: &Event) {
        self.0.iter_mut().for_each(|observer| observer.event(event));
    }

    fn asks_to_save(&mut self) -> bool {
        // Each is asked, so that no wish waits for another one.
        let wishes = self.0.iter_mut().map(|observer| observer.asks_to_save());
        wishes.filter(|wish| *wish).count() > 0
    }
}

/// Whether `step` is one of those that are written when only every `log_steps`-th is.
fn is_logged(step: usize, log_steps: usize) -> bool {
    step == 1 || step.is_multiple_of(log_steps.max(1))
}

#[cfg(test)]
mod tests;
