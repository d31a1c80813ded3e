//! Exact search among many vectors, timed: `bench_search VECTORS DIM QUERIES TOP FILE`.
//!
//! Vectors follow a formula that `bench/peers/search.py` has too, so that both search the same ones;
//! FILE receives the rows found, `QUERIES` x `TOP` numbers of 32 bits.

#![allow(clippy::print_stdout)]

use moco::features::nearest;
use rayon::prelude::*;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments[i].parse::<usize>().expect("a number");
    let (count, dim, queries, top) = (number(0), number(1), number(2), number(3));
    let (collection, queries) = (vectors(0, count, dim), vectors(count, queries, dim));
    let begin = Instant::now();
    let found = nearest(&queries, &collection, dim, top);
    println!("{:.4}", begin.elapsed().as_secs_f64());
    let rows = found.iter().flatten().flat_map(|found| found.row.to_le_bytes());
    std::fs::write(&arguments[4], rows.collect::<Vec<u8>>())
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
