//! What a listing costs: `cargo run --release -p moco-data --example listing -- PATH`.

// An example is a program.
#![allow(clippy::print_stdout)]

use moco_data::Dataset;
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = env::args().nth(1).ok_or("give the path of a data set")?;
    let start = Instant::now();
    let dataset = Dataset::open(Path::new(&path))?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{} images, {} classes, {seconds:.2} s", dataset.len(), dataset.class_names().len());
    println!("{}", dataset.holdings());
    // Linux alone tells.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("peak memory {}", line.trim_start_matches("VmHWM:").trim());
    }
    Ok(())
}
