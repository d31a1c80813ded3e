//! Results as files: CSV and JSON of named columns, and plain lists.

use crate::output::{Output, extension};
use anyhow::bail;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;

/// A kind of file that results are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Html,
    Csv,
    Json,
    Txt,
}

/// A file for results, and its kind.
pub struct Results {
    output: Output,
    pub format: Format,
}

impl Results {
    /// Looks whether a file of one of these kinds can be written at `path`.
    pub fn at(path: &Path, formats: &[(&str, Format)]) -> anyhow::Result<Results> {
        let found = formats.iter().find(|(name, _)| *name == extension(path));
        let Some(&(_, format)) = found else {
            let names: Vec<String> = formats.iter().map(|(name, _)| format!(".{name}")).collect();
            bail!(
                "cannot tell the format of {}: let --out end in {}",
                path.display(),
                names.join(" or ")
            )
        };
        Ok(Results { output: Output::at(path)?, format })
    }

    /// Refuses to write over a file that the command reads.
    pub fn sparing(self, input: &Path) -> anyhow::Result<Results> {
        Ok(Results { output: self.output.spares(input)?, ..self })
    }

    /// Writes a text and says so.
    pub fn write_text(&self, text: &str) -> anyhow::Result<()> {
        self.output.write(|file| Ok(file.write_all(text.as_bytes())?))?;
        eprintln!("wrote {}", self.output.target().display());
        Ok(())
    }

    /// Writes rows as CSV, or as a JSON array of objects.
    pub fn write_rows(&self, head: &[&str], rows: &[Vec<Value>]) -> anyhow::Result<()> {
        self.write_text(&match self.format {
            Format::Json => json(head, rows)?,
            _ => csv_text(head, rows)?,
        })
    }
}

fn json(head: &[&str], rows: &[Vec<Value>]) -> anyhow::Result<String> {
    let object = |row: &Vec<Value>| {
        let pairs = head.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
        pairs.collect::<Map<String, Value>>()
    };
    let objects: Vec<_> = rows.iter().map(object).collect();
    Ok(serde_json::to_string_pretty(&objects)? + "\n")
}

fn csv_text(head: &[&str], rows: &[Vec<Value>]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    for row in rows {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        writer.write_record(row.iter().map(text))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A similarity with the digits that f32 has.
pub fn similarity(value: f32) -> Value {
    ((f64::from(value) * 1e6).round() / 1e6).into()
}
