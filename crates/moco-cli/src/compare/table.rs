//! The table of a comparison: as text, as Markdown and as JSON lines.

use super::measure::protocol;
use crate::score::Accuracies;
use moco::checkpoint::write_atomically;
use moco::methods;
use moco::report::Summary;
use moco::report::{duration, percent};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// The table for people, and for programs.
pub const MARKDOWN: &str = "compare.md";
const LINES: &str = "compare.jsonl";

/// One method's results: a line of `compare.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub method: String,
    pub knn: f64,
    pub linear: f64,
    pub untrained_knn: f64,
    pub untrained_linear: f64,
    pub summary: Summary,
    pub measured: Measured,
}

impl Row {
    /// Of a method's encoder, trained and as it was drawn.
    pub fn of(
        method: &str,
        [trained, drawn]: [Accuracies; 2],
        summary: Summary,
        measured: Measured,
    ) -> Row {
        Row {
            method: method.to_owned(),
            knn: trained.knn,
            linear: trained.linear,
            untrained_knn: drawn.knn,
            untrained_linear: drawn.linear,
            summary,
            measured,
        }
    }
}

/// What accuracies are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Checksum of the encoder's file.
    pub encoder: u32,
    /// The labelled images.
    pub images: Images,
}

/// Fingerprints of the labelled images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    pub train: u64,
    /// `None` if every so many training images are the test images.
    pub test: Option<u64>,
}

/// All results so far.
pub struct Table {
    folder: PathBuf,
    rows: Vec<Row>,
    baselines: Vec<[String; 3]>,
}

impl Table {
    /// The table that is kept in `folder`, as far as it is of these images.
    pub fn open(folder: PathBuf, images: Images) -> Self {
        let kept = fs::read_to_string(folder.join(LINES)).unwrap_or_default();
        // A line of another version is no loss: its method is measured anew.
        let rows = kept.lines().filter_map(|line| serde_json::from_str::<Row>(line).ok());
        let rows = rows.filter(|row| row.measured.images == images).collect();
        Self { folder, rows, baselines: Vec::new() }
    }

    /// What is known of a method, if it was measured so.
    pub fn row(&self, method: &str, measured: Measured) -> Option<&Row> {
        self.rows.iter().find(|row| row.method == method && row.measured == measured)
    }

    /// Adds what any encoder must beat.
    pub fn baseline(&mut self, name: &str, accuracies: Accuracies) {
        let Accuracies { knn, linear } = accuracies;
        self.baselines.push([name.to_owned(), percent(knn, 2), percent(linear, 2)]);
    }

    /// Adds the accuracy of guessing.
    pub fn chance(&mut self, classes: usize) {
        let chance = percent(1.0 / classes as f64, 2);
        self.baselines.push(["guessing".to_owned(), chance.clone(), chance]);
    }

    /// Adds a method, in place of what was known of it, and writes the table.
    pub fn add(&mut self, row: Row) -> anyhow::Result<()> {
        self.rows.retain(|other| other.method != row.method);
        self.rows.push(row);
        let order = methods::names();
        self.rows.sort_by_key(|row| order.iter().position(|method| *method == row.method));
        let lines: Vec<String> =
            self.rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        for (name, text) in [(MARKDOWN, self.text()), (LINES, lines.join("\n") + "\n")] {
            write_atomically(&self.folder.join(name), text.as_bytes())?;
        }
        Ok(())
    }

    /// The table in Markdown, which reads well on a terminal too, and how it was measured.
    pub fn text(&self) -> String {
        let head = [
            "method",
            "kNN",
            "linear",
            "untrained kNN",
            "untrained linear",
            "per epoch",
            "memory",
            "parameters",
            "notes",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(cells));
        lines.extend(self.baselines.iter().map(|baseline| {
            let mut cells = baseline.to_vec();
            cells.resize(head.len(), String::new());
            cells
        }));
        format!("{}\n{}\n", markdown(&lines), protocol())
    }
}

fn cells(row: &Row) -> Vec<String> {
    let Summary { seconds_per_epoch, peak_memory_bytes, parameters, warnings, .. } = &row.summary;
    vec![
        row.method.clone(),
        percent(row.knn, 2),
        percent(row.linear, 2),
        percent(row.untrained_knn, 2),
        percent(row.untrained_linear, 2),
        seconds_per_epoch.map_or_else(String::new, duration),
        peak_memory_bytes.map_or_else(String::new, |bytes| format!("{:.2} GB", bytes as f64 / 1e9)),
        format!("{:.2} M", *parameters as f64 / 1e6),
        warnings.join("; "),
    ]
}

/// Columns of equal width, so that the source reads as a table.
fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let padded = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} "));
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let rule: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
    let mut text = padded(&lines[0]) + &rule + "|\n";
    text.extend(lines[1..].iter().map(padded));
    text
}
