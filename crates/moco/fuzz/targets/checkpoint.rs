//! A checkpoint of a run, opened, restored into a small state, and read as an export.

#![no_main]

use burn::tensor::Tensor;
use moco::checkpoint::Checkpoint;
use moco::device::Device;
use moco::export::read_origin;
use moco::nn::Buffer;
use moco::plan::parse_run;
use std::path::PathBuf;
use std::sync::LazyLock;

/// State of two tensors and a counter, as in `seeds.py`.
struct Part {
    matrix: Buffer<2>,
    empty: Buffer<1>,
    counter: u64,
}

moco::module!(Part { matrix, empty, counter });

/// The one file that each input is written to; `TMPDIR` in memory makes that fast.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("moco-fuzz-{}.safetensors", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    std::fs::write(&*FILE, data).expect("a temporary file can be written");
    if let Ok(Some(origin)) = read_origin(&FILE) {
        let _ = parse_run(&origin.config);
    }
    let Ok(checkpoint) = Checkpoint::open(&FILE) else { return };
    let _ = parse_run(&checkpoint.meta().config);
    let device = Device::flex();
    let mut part = Part {
        matrix: Buffer::new(Tensor::zeros([2, 3], &device)),
        empty: Buffer::new(Tensor::zeros([0], &device)),
        counter: 4,
    };
    let _ = checkpoint.restore(&mut [("part", &mut part)], &device);
});
