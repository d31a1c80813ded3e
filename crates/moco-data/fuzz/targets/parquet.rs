//! Parquet files.

#![no_main]

#[path = "../feed.rs"]
mod feed;

libfuzzer_sys::fuzz_target!(init: feed::allow_caught_panics(), |data: &[u8]| feed::feed("rows.parquet", data));
