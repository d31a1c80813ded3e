//! Exact search among many vectors, timed: `bench_search VECTORS DIM QUERIES TOP FILE`.
//!
//! Vectors follow a formula that `bench/peers/search.py` has too, so that both search the same ones;
//! FILE receives the rows found, `QUERIES` x `TOP` numbers of 32 bits. Printed are the search's seconds,
//! its processor seconds (which other programs on the machine disturb less), and by how many MB it
//! raised the program's peak memory; what the system does not tell is NaN.

#![allow(clippy::print_stdout)]

use moco::features::nearest;
use rayon::prelude::*;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments[i].parse::<usize>().expect("a number");
    let (count, dim, queries, top) = (number(0), number(1), number(2), number(3));
    let (collection, queries) = (vectors(0, count, dim), vectors(count, queries, dim));
    let before = (processor_seconds(), peak_megabytes());
    let begin = Instant::now();
    let found = nearest(&queries, &collection, dim, top);
    let seconds = begin.elapsed().as_secs_f64();
    let (processor, memory) = (processor_seconds() - before.0, peak_megabytes() - before.1);
    println!("{seconds:.4} {processor:.2} {memory:.1}");
    let rows = found.iter().flatten().flat_map(|found| found.row.to_le_bytes());
    std::fs::write(&arguments[4], rows.collect::<Vec<u8>>())
}

/// Of all threads, in user and kernel mode, by steps of 1/100 (`man proc_pid_stat`).
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok());
    ticks(11).zip(ticks(12)).map_or(f64::NAN, |(user, system)| (user + system) / 100.0)
}

/// The most memory that was resident so far.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    number.map_or(f64::NAN, |kilobytes| kilobytes / 1024.0)
}

/// Rows of unit length, from row `first` of the formula on.
fn vectors(first: usize, count: usize, dim: usize) -> Vec<f32> {
    let mut values = vec![0f32; count * dim];
    values.par_chunks_exact_mut(dim).enumerate().for_each(|(row, values)| {
        for (i, value) in values.iter_mut().enumerate() {
            *value = formula(((first + row) * dim + i) as u64);
        }
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    });
    values
}

/// Uniform in [-1/2, 1/2): the top of splitmix64.
fn formula(i: u64) -> f32 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}
