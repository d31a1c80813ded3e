//! The table of a comparison: as text, as Markdown and as JSON lines.

use crate::score::Accuracies;
use crate::summary::Summary;
use anyhow::Context;
use moco::report::{duration, percent};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// One method's results.
pub struct Row {
    pub method: String,
    pub trained: Accuracies,
    pub untrained: Accuracies,
    pub summary: Summary,
}

/// All results so far.
pub struct Table {
    folder: PathBuf,
    rows: Vec<Row>,
    baselines: Vec<[String; 3]>,
}

impl Table {
    /// A table that is kept in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, rows: Vec::new(), baselines: Vec::new() }
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

    /// Adds a method and writes the table.
    pub fn add(&mut self, row: Row) -> anyhow::Result<()> {
        self.rows.push(row);
        let lines: String = self.rows.iter().map(|row| format!("{}\n", as_json(row))).collect();
        for (name, text) in [("compare.md", self.text()), ("compare.jsonl", lines)] {
            let path = self.folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// The table in Markdown, which reads well on a terminal too.
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
        markdown(&lines)
    }
}

fn cells(row: &Row) -> Vec<String> {
    let Summary { seconds_per_epoch, peak_memory_bytes, parameters, warnings, .. } = &row.summary;
    vec![
        row.method.clone(),
        percent(row.trained.knn, 2),
        percent(row.trained.linear, 2),
        percent(row.untrained.knn, 2),
        percent(row.untrained.linear, 2),
        seconds_per_epoch.map_or_else(String::new, duration),
        peak_memory_bytes.map_or_else(String::new, |bytes| format!("{:.2} GB", bytes as f64 / 1e9)),
        format!("{:.2} M", *parameters as f64 / 1e6),
        warnings.join("; "),
    ]
}

fn as_json(row: &Row) -> Value {
    json!({
        "method": row.method,
        "knn": row.trained.knn,
        "linear": row.trained.linear,
        "untrained_knn": row.untrained.knn,
        "untrained_linear": row.untrained.linear,
        "summary": row.summary,
    })
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
