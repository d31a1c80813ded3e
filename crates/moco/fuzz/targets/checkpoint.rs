//! A checkpoint of a run, opened, restored into a small state, and read as an export.

#![no_main]

#[path = "../../tests/it/mutations/checkpoint.rs"]
mod checkpoint;

use std::path::PathBuf;
use std::sync::LazyLock;

/// The one file that each input is written to; `TMPDIR` in memory makes that fast.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("moco-fuzz-{}.safetensors", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    std::fs::write(&*FILE, data).expect("a temporary file can be written");
    checkpoint::opened(&FILE);
});
