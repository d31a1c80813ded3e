//! Draws images of generated shapes, a folder for each class, to try programs on:
//!
//! ```sh
//! cargo run --release -p moco-data --example shapes -- FOLDER COUNT SIZE
//! ```

use moco_data::synthetic::{shapes, write_folder};
use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [folder, count, size] = args.as_slice() else {
        return Err("usage: shapes FOLDER COUNT SIZE".into());
    };
    write_folder(&shapes(count.parse()?, size.parse()?, 0), Path::new(folder))?;
    Ok(())
}
