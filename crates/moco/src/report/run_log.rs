//! `run.log`: the run's story with the time of each line, for people.

use super::whole::{self, Records};
use super::{Report, ReportError, Story, is_logged};
use crate::events::Event;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// Writes a line of text, with date and time in UTC, for everything worth reading afterwards.
pub struct RunLog {
    path: PathBuf,
    file: Records,
    log_steps: usize,
    story: Story,
}

impl RunLog {
    /// Opens or creates the log at `path`; a resumed run goes on behind its last whole line.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, log_steps: usize) -> Result<RunLog, ReportError> {
        let file = Records::open(path, whole::lines).map_err(ReportError::at(path))?;
        Ok(RunLog { path: path.to_owned(), file, log_steps, story: Story::default() })
    }
}

impl Report for RunLog {
    fn record(&mut self, event: &Event) -> Result<(), ReportError> {
        let skipped = matches!(event, Event::Step(step) if !is_logged(step.step, self.log_steps));
        let Some(text) = self.story.tell(event).filter(|_| !skipped) else { return Ok(()) };
        let now = Timestamp::now();
        let lines: String = text.lines().map(|line| format!("{now:.0} {line}\n")).collect();
        self.file.append(lines.as_bytes()).map_err(ReportError::at(&self.path))
    }
}
