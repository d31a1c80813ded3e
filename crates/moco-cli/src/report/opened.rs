//! What a run's folder says: figures, curves, settings, bad files.

use super::settings;
use anyhow::Context;
use moco::methods::Expectation;
use moco::plan::Plan;
use moco::report::Summary;
use moco::report::{duration, percent};
use moco::run::RunDir;
use moco_data::{Dataset, without_secrets};
use moco_page::page::{Curves, Line, Run};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// A run, as far as its files tell of it.
pub struct Opened {
    pub dir: RunDir,
    pub config: Plan,
    name: String,
    summary: Option<Summary>,
    /// Why there is no summary although there is a file.
    unread: Option<String>,
    curves: Curves,
    /// The log's lines up to the start, without their times.
    beginning: Vec<String>,
    bad_files: Vec<(String, String)>,
}

impl Opened {
    /// Reads the run in a folder.
    ///
    /// # Errors
    /// There is none, or a file of it cannot be read.
    pub fn at(path: &Path) -> anyhow::Result<Opened> {
        let dir = RunDir::at(path);
        let config = dir.read_config()?;
        let absolute = std::path::absolute(path)?;
        let name = absolute.file_name().map_or("run".into(), |name| name.to_string_lossy());
        let (summary, unread) = match Summary::read(&dir) {
            Ok(summary) => (summary, None),
            Err(error) => (None, Some(format!("summary.json cannot be read ({error})."))),
        };
        Ok(Opened {
            config,
            name: name.into_owned(),
            summary,
            unread,
            curves: Curves::parse(&text(&dir.metrics())?),
            beginning: beginning(&text(&path.join("run.log"))?),
            bad_files: bad_files(&text(&dir.bad_files())?),
            dir,
        })
    }

    /// Steps that were finished, as far as anything tells.
    pub fn steps(&self) -> usize {
        let lines = self.curves.steps.last().into_iter().chain(self.curves.epochs.last());
        let written = lines.filter_map(|line| line.get("step")).fold(0.0, |a: f64, b| a.max(*b));
        self.summary.as_ref().map_or(0, |summary| summary.steps).max(written as usize)
    }

    /// The last value of something that epochs report.
    pub fn last(&self, key: &str) -> Option<f64> {
        self.curves.epochs.iter().rev().find_map(|line| line.get(key)).copied()
    }

    /// Mean over the steps that were written down since the last epoch but one.
    pub fn recent(&self, key: &str) -> Option<f64> {
        let from = self.curves.epochs.iter().rev().nth(1).and_then(|line| line.get("step"));
        let recent = |line: &&Line| line.get("step") > from;
        let steps = self.curves.steps.iter().filter(recent);
        let values: Vec<f64> = steps.filter_map(|line| line.get(key)).copied().collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// All but what is seen of images.
    pub fn page(&self, expectation: Option<&Expectation>, images: Option<&Dataset>) -> Run {
        let mut run = Run::named(&self.name, "");
        run.facts = self.facts(images);
        run.warnings = self.summary.iter().flat_map(|summary| summary.warnings.clone()).collect();
        run.missing.extend(self.unread.clone());
        run.curves = self.curves.clone();
        run.curves.chance = expectation.map(|expected| expected.chance);
        run.curves.collapse = expectation.and_then(|expected| expected.collapse);
        run.notes = settings::notes(&self.beginning);
        run.settings = settings::table(&self.config, &run.notes, images);
        run.made_with = self.made_with();
        run.bad_files.clone_from(&self.bad_files);
        run
    }

    fn facts(&self, images: Option<&Dataset>) -> Vec<(String, String)> {
        let config = &self.config;
        let epoch = self.last("epoch").map_or_else(
            || format!("{} steps", self.steps()),
            |epoch| format!("{epoch:.0} of {}", config.train.epochs),
        );
        let seconds: f64 = self.curves.epochs.iter().filter_map(|line| line.get("seconds")).sum();
        let percentage = |key| self.last(key).map(|share| percent(share, 1));
        let facts = [
            ("Method", Some(config.method.name().to_owned())),
            ("Backbone", Some(config.model.backbone.clone())),
            ("Images", images.map(|images| images.len().to_string())),
            ("Epochs", Some(epoch)),
            ("Loss", self.last("loss").map(|loss| format!("{loss:.3}"))),
            ("kNN", percentage("knn")),
            ("Linear probe", percentage("probe")),
            ("RankMe", self.last("rank_me").map(|rank| format!("{rank:.1}"))),
            ("Training took", (seconds > 0.0).then(|| duration(seconds))),
        ];
        let known = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        known.collect()
    }

    fn made_with(&self) -> Vec<(String, String)> {
        let train = &self.config.train;
        let state = match &self.summary {
            Some(summary) if summary.finished => ", finished",
            None if self.unread.is_some() => "",
            _ => ", not finished",
        };
        let rows = [
            ("Begun as", self.beginning.first().cloned()),
            ("Machine", self.summary.as_ref().and_then(|summary| summary.machine.clone())),
            ("Seed", Some(train.seed.to_string())),
            ("Images from", Some(without_secrets(&self.config.data.path).display().to_string())),
            ("Steps", Some(format!("{}{state}", self.steps()))),
            ("Parameters", self.summary.as_ref().map(parameters)),
            ("Peak memory", self.summary.as_ref().and_then(memory)),
            ("Page made by", Some(format!("moco {}", env!("CARGO_PKG_VERSION")))),
        ];
        let known = rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        known.collect()
    }
}

fn parameters(summary: &Summary) -> String {
    format!("{:.2} M trained", summary.parameters as f64 / 1e6)
}

fn memory(summary: &Summary) -> Option<String> {
    Some(format!("{:.2} GB", summary.peak_memory_bytes? as f64 / 1e9))
}

/// The text of a file; empty if there is none.
fn text(path: &Path) -> anyhow::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The lines of the first beginning of a run's log: what it was made with, notes, the frame.
fn beginning(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
    let mut lines: Vec<String> = lines.take(100).collect();
    let end = lines.iter().position(|line| line.contains(" steps per epoch, "));
    lines.truncate(end.unwrap_or(0));
    lines
}

fn bad_files(table: &str) -> Vec<(String, String)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(table.as_bytes());
    let field = |record: &csv::StringRecord, at| record.get(at).unwrap_or_default().to_owned();
    // A line that makes no sense names no image.
    let records = reader.records().filter_map(Result::ok);
    records.map(|record| (field(&record, 0), field(&record, 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_begins_with_notes_and_ends_with_the_frame() {
        let log = "2026-01-01T00:00:00Z moco 0.1.0, resnet18 on cpu\n\
                   2026-01-01T00:00:00Z model.width = 32: half\n\
                   2026-01-01T00:00:01Z moco-v2: 9 images, batches of 2, 4 steps per epoch, 8 in all\n\
                   2026-01-01T00:00:02Z step 1\n";
        assert_eq!(beginning(log), ["moco 0.1.0, resnet18 on cpu", "model.width = 32: half"]);
        assert!(beginning("no such line\n").is_empty());
    }

    #[test]
    fn bad_files_are_read_as_they_were_written() {
        let table = "name,reason\n\"a,b.png\",\"no \"\"header\"\"\"\nc.png,cut\n";
        let expected = [("a,b.png", "no \"header\""), ("c.png", "cut")];
        assert_eq!(bad_files(table), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(bad_files("").is_empty());
    }
}
