//! The command line as a process: exit codes, messages, files.

// What was left out and what was measured is said to whoever runs them.
#![allow(clippy::print_stdout)]

mod bad_input;
mod bench;
mod distill;
mod doctor;
mod export;
mod features;
mod going_on;
mod help;
mod imports;
mod limits;
mod locks;
mod long;
mod outputs;
mod pipe;
mod ranks;
mod repeat;
mod report;
mod runs;
mod signals;
mod sources;
mod training;
mod views;
mod watching;

use moco_data::{Image, save_png};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How a call of `moco` ended.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn moco<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Outcome {
    outcome(Command::new(env!("CARGO_BIN_EXE_moco")).args(args))
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Calls `moco` with the words of `line`; `{}` in it stands for `path`.
fn moco_line(line: &str, path: &Path) -> Outcome {
    moco(line.split_whitespace().map(|word| word.replace("{}", path.to_str().unwrap())))
}

/// A folder of `count` small images of different colours, within a temporary one.
fn images(count: usize) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("images");
    fs::create_dir(&folder).unwrap();
    for i in 0..count {
        let color = [i * 37, i * 91, i * 53].map(|value| (value % 256) as u8);
        let image = Image::filled(32, 32, color);
        save_png(&image, &folder.join(format!("{i:03}.png"))).unwrap();
    }
    (place, folder)
}
