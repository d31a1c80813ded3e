//! `summary.json`: what a finished run cost and came to, for programs.

use super::{ReportError, last_epoch};
use crate::events::{EpochReport, Event, Observer};
use crate::files::write_whole;
use crate::run::RunDir;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// What a run cost and came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Method name.
    pub method: String,
    /// Steps finished.
    pub steps: usize,
    /// Whether the run went to its end.
    pub finished: bool,
    /// Trained parameters.
    pub parameters: usize,
    /// Mean wall time of an epoch in this process, without monitors.
    pub seconds_per_epoch: Option<f64>,
    /// Largest physical memory of this process.
    pub peak_memory_bytes: Option<usize>,
    /// Mean loss of the last epoch.
    pub loss: Option<f64>,
    /// Last kNN accuracy while training, 0..=1.
    pub knn: Option<f64>,
    /// What was warned of, e.g. a collapse.
    pub warnings: Vec<String>,
    /// The machine of the last process, in words.
    #[serde(default)]
    pub machine: Option<String>,
}

impl Summary {
    /// Where a run keeps it.
    pub fn path(run: &RunDir) -> PathBuf {
        run.path().join("summary.json")
    }

    /// Reads that of a run; `None` if there is none yet.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn read(run: &RunDir) -> io::Result<Option<Summary>> {
        match fs::read(Self::path(run)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it into the run's folder; a reader sees all of it or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, run: &RunDir) -> Result<(), ReportError> {
        let path = Self::path(run);
        write_whole(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            writeln!(out)
        })
        .map_err(ReportError::at(&path))
    }
}

/// Gathers a summary from a run's events.
#[derive(Default)]
pub struct Gather {
    /// As far as the events have come.
    pub summary: Summary,
    epochs: Vec<EpochReport>,
}

impl Gather {
    /// Begins with what is known of the first `first_step` steps of a run that goes on.
    pub fn of(run: &RunDir, first_step: usize) -> Gather {
        if first_step == 0 {
            return Gather::default();
        }
        let unread = |error| {
            let warning = format!(
                "summary.json of before could not be read ({error}): what was warned of then is lost"
            );
            Some(Summary { warnings: vec![warning], ..Summary::default() })
        };
        let mut summary = Summary::read(run).unwrap_or_else(unread).unwrap_or_default();
        if let Some((loss, knn)) = last_epoch(&run.metrics(), first_step) {
            summary.loss = Some(loss);
            summary.knn = knn.or(summary.knn);
        }
        Gather { summary, epochs: Vec::new() }
    }
}

impl Observer for Gather {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Start(start) => {
                self.summary.method.clone_from(&start.method);
                self.summary.parameters = start.parameters;
            }
            Event::Warning(warning) if !self.summary.warnings.contains(warning) => {
                self.summary.warnings.push(warning.clone());
            }
            Event::Epoch(epoch) => {
                self.epochs.push(epoch.clone());
                self.summary.loss = Some(epoch.loss);
                self.summary.knn = epoch.knn.or(self.summary.knn);
                let seconds: f64 = self.epochs.iter().map(|epoch| epoch.seconds).sum();
                self.summary.seconds_per_epoch = Some(seconds / self.epochs.len() as f64);
            }
            _ => {}
        }
    }
}
