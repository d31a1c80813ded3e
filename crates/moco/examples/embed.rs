//! Finds, for each image, the one that a trained encoder takes for most alike.
//!
//! ```text
//! cargo run --release --example embed -- RUN IMAGES
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr)]

use moco::config::FeatureKind;
use moco::device;
use moco::eval::features;
use moco::run::{TrainedEncoder, load_encoder};
use moco_data::Dataset;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, images] = arguments.as_slice() else {
        return Err("give a run's folder and a folder of images".into());
    };
    let device = device::parse("cpu")?;
    let TrainedEncoder { mut encoder, notes, .. } = load_encoder(Path::new(run), &device)?;
    notes.iter().for_each(|note| eprintln!("{note}"));

    let dataset = Dataset::open(Path::new(images))?;
    let kind = FeatureKind::Backbone;
    let features = features(&mut encoder, &dataset, kind, 2, &mut |_, _| ())?;
    println!("{} images, features of {} values", features.len(), features.dim);

    // Rows of unit length, so that the dot product is the cosine of the angle.
    let values = features.normalized();
    let rows: Vec<&[f32]> = values.chunks_exact(features.dim).collect();
    for (i, row) in rows.iter().enumerate() {
        let similarity = |j: &usize| row.iter().zip(rows[*j]).map(|(a, b)| a * b).sum::<f32>();
        let others = (0..rows.len()).filter(|j| *j != i);
        let Some(nearest) = others.max_by(|a, b| similarity(a).total_cmp(&similarity(b))) else {
            continue;
        };
        let name = |row: usize| dataset.name(features.indices[row]);
        println!("{} is nearest to {} ({:.3})", name(i), name(nearest), similarity(&nearest));
    }
    Ok(())
}
