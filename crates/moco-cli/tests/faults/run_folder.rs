//! What a run left, and whether it is what an uninterrupted run leaves.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// Values of `metrics.jsonl` that no two runs share.
const TIMES: [&str; 4] = ["seconds", "data_wait", "images_per_second", "data_wait_share"];

/// The outputs of a finished run.
pub struct RunFolder {
    encoder: Vec<u8>,
    checkpoint: (String, Vec<u8>),
    config: String,
    metrics: Vec<Value>,
    bad_files: String,
}

impl RunFolder {
    /// Reads the outputs; the reason says which is missing or torn.
    pub fn read(run: &Path) -> Result<RunFolder, String> {
        let summary: Value = parse(&text(run, "summary.json")?, "summary.json")?;
        if summary["finished"] != true {
            return Err("summary.json does not say that the run is finished".into());
        }
        nothing_left_over(run)?;
        Ok(RunFolder {
            encoder: bytes(run, "encoder.safetensors")?,
            checkpoint: newest_checkpoint(run)?,
            config: text(run, "config.toml")?,
            metrics: metrics(&text(run, "metrics.jsonl")?)?,
            bad_files: text(run, "bad_files.csv").unwrap_or_default(),
        })
    }

    /// Whether this is what `expected` is, to the bit. Reports that `warnings` say end early may.
    pub fn compare(&self, expected: &RunFolder, warnings: &str) -> Result<(), String> {
        let ends_early = |name: &str| {
            warnings.lines().any(|line| line.starts_with("warning:") && line.contains(name))
        };
        same(self.encoder == expected.encoder, "encoder.safetensors")?;
        same(self.checkpoint.0 == expected.checkpoint.0, "the newest checkpoint's step")?;
        same(self.checkpoint.1 == expected.checkpoint.1, "the newest checkpoint")?;
        same(self.config == expected.config, "config.toml")?;
        match ends_early("metrics.jsonl") {
            true => same(is_part_of(&self.metrics, &expected.metrics), "a line of metrics.jsonl")?,
            false => self.same_metrics(expected)?,
        }
        same(ends_early("bad_files.csv") || self.bad_files == expected.bad_files, "bad_files.csv")
    }

    fn same_metrics(&self, expected: &RunFolder) -> Result<(), String> {
        let (found, wanted) = (self.metrics.len(), expected.metrics.len());
        if found != wanted {
            return Err(format!("metrics.jsonl has {found} lines instead of {wanted}"));
        }
        match self.metrics.iter().zip(&expected.metrics).position(|(line, wanted)| line != wanted) {
            Some(line) => Err(format!("line {} of metrics.jsonl differs", line + 1)),
            None => Ok(()),
        }
    }
}

fn same(is_same: bool, what: &str) -> Result<(), String> {
    if is_same { Ok(()) } else { Err(format!("{what} differs from the uninterrupted run's")) }
}

/// Whether all of `lines` are among `all`, in the same order.
fn is_part_of(lines: &[Value], all: &[Value]) -> bool {
    let mut rest = all.iter();
    lines.iter().all(|line| rest.any(|each| each == line))
}

fn bytes(run: &Path, name: &str) -> Result<Vec<u8>, String> {
    fs::read(run.join(name)).map_err(|error| format!("{name}: {error}"))
}

fn text(run: &Path, name: &str) -> Result<String, String> {
    String::from_utf8(bytes(run, name)?).map_err(|_| format!("{name} is not text"))
}

fn parse(text: &str, what: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|_| format!("{what} is not JSON"))
}

/// The lines without the times; each is whole, and steps grow.
fn metrics(text: &str) -> Result<Vec<Value>, String> {
    let mut lines = Vec::new();
    let mut last = 0;
    for line in text.lines() {
        let mut line = parse(line, "a line of metrics.jsonl")?;
        let step = line["step"].as_u64().ok_or("a line of metrics.jsonl has no step")?;
        if step < last + u64::from(line["kind"] == "step") {
            return Err(format!("metrics.jsonl has step {step} after {last}"));
        }
        last = step;
        let object = line.as_object_mut().ok_or("a line of metrics.jsonl is no object")?;
        object.retain(|key, _| !TIMES.contains(&key.as_str()));
        lines.push(line);
    }
    Ok(lines)
}

/// Whether the run holds a checkpoint.
pub fn has_checkpoint(run: &Path) -> bool {
    newest_checkpoint(run).is_ok()
}

fn newest_checkpoint(run: &Path) -> Result<(String, Vec<u8>), String> {
    let folder = run.join("checkpoints");
    let names = fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let newest = names.filter(|name| name.ends_with(".safetensors")).max();
    let name = newest.ok_or("there is no checkpoint")?;
    let bytes = bytes(&folder, &name)?;
    Ok((name, bytes))
}

/// Whether there are no files but those that the README names.
fn nothing_left_over(run: &Path) -> Result<(), String> {
    let known = [
        "config.toml",
        "metrics.jsonl",
        "run.log",
        "encoder.safetensors",
        "bad_files.csv",
        "summary.json",
        "report.html",
        "checkpoints",
        "images.txt.gz",
        ".lock",
    ];
    let is_known = |name: &str| known.contains(&name) || name.starts_with("events.out.tfevents.");
    let is_checkpoint = |name: &str| name.starts_with("step-") && name.ends_with(".safetensors");
    left_over(run, &is_known)?;
    left_over(&run.join("checkpoints"), &is_checkpoint)
}

/// Whether all files of a folder are known.
pub fn left_over(folder: &Path, is_known: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    match names.into_iter().find(|name| !is_known(name)) {
        Some(name) => Err(format!("{name} is left over")),
        None => Ok(()),
    }
}
