//! Measures the data path and prints the report as one line of JSON:
//!
//! ```sh
//! cargo run --release -p moco-data --example bench_data -- DATA THREADS SECONDS CACHE_MB VIEW...
//! ```

#![expect(clippy::print_stdout)]

use moco_data::View;
use moco_data::bench::{BenchConfig, measure};
use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [data, threads, seconds, cache_mb, texts @ ..] = args.as_slice() else {
        return Err("usage: bench_data DATA THREADS SECONDS CACHE_MB VIEW...".into());
    };
    let mut views = Vec::new();
    for text in texts {
        views.extend(View::repeated(text)?);
    }
    let config = BenchConfig {
        views,
        threads: threads.parse()?,
        batch_size: 64,
        seconds: seconds.parse()?,
        cache_mb: cache_mb.parse()?,
    };
    println!("{}", serde_json::to_string(&measure(Path::new(data), &config)?)?);
    Ok(())
}
