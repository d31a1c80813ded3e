//! `moco embed`: feature vectors of images as a table that other programs read.

mod csv_table;
mod npy;
mod parquet_table;

use crate::args::EmbedArgs;
use crate::data;
use crate::eval::encode;
use crate::output::{Output, extension};
use crate::ranks::peers;
use crate::session::{Machine, open_encoder};
use anyhow::bail;
use moco::eval::Features;
use moco::run::TrainedEncoder;
use moco_data::Dataset;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A way to write the table.
#[derive(Clone, Copy)]
enum Format {
    Npy,
    Csv,
    Parquet,
}

/// Encodes the images and writes one row for each.
pub fn run(args: &EmbedArgs) -> anyhow::Result<()> {
    let format = format_of(&args.out)?;
    // One rank writes.
    let files = files(&args.out, format)
        .into_iter()
        .filter(|_| peers().speaks())
        .map(|(path, write)| Ok((Output::at(&path)?.spares(&args.data)?, path, write)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let machine = Machine::open(&args.machine)?;
    let TrainedEncoder { mut encoder, config, .. } = open_encoder(&args.encoder, &machine.device)?;
    let feature = args.feature.into();
    config.check_feature("--feature", feature)?;
    let images = data::open_together(&args.data)?;
    let threads = machine.options.threads;
    let features = encode(&mut encoder, &images, feature, threads, "images")?;
    let table = Table { features: &features, images: &images };
    for (output, path, write) in files {
        output.write(|file| write(&table, file))?;
        println!("wrote {}", path.display());
    }
    println!("{} images, {} values each", features.len(), features.dim);
    Ok(())
}

fn format_of(path: &Path) -> anyhow::Result<Format> {
    match extension(path).as_str() {
        "npy" => Ok(Format::Npy),
        "csv" => Ok(Format::Csv),
        "parquet" => Ok(Format::Parquet),
        _ => bail!(
            "cannot tell the format of {}: let --out end in .npy, .csv or .parquet",
            path.display()
        ),
    }
}

type Writer = fn(&Table, &mut dyn WriteSend) -> anyhow::Result<()>;

/// What the Parquet writer asks of a file.
trait WriteSend: Write + Send {}
impl<W: Write + Send> WriteSend for W {}

/// The files of a format and who writes each.
fn files(out: &Path, format: Format) -> Vec<(PathBuf, Writer)> {
    match format {
        Format::Npy => {
            let paths = out.with_extension("paths.csv");
            vec![(out.to_owned(), npy::write as Writer), (paths, csv_table::write_paths)]
        }
        Format::Csv => vec![(out.to_owned(), csv_table::write)],
        Format::Parquet => vec![(out.to_owned(), parquet_table::write)],
    }
}

/// The rows to write: path, class if there are classes, feature vector.
struct Table<'a> {
    features: &'a Features,
    images: &'a Dataset,
}

impl Table<'_> {
    fn paths(&self) -> impl Iterator<Item = &str> {
        self.features.indices.iter().map(|&index| self.images.name(index))
    }

    /// The class of each row, nothing for an image that has none, unless no image has one.
    fn classes(&self) -> Option<Vec<&str>> {
        let names = self.images.class_names();
        let class =
            |&i: &usize| self.images.label(i).map_or("", |label| names[label as usize].as_str());
        (!names.is_empty()).then(|| self.features.indices.iter().map(class).collect())
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.features.values.chunks_exact(self.features.dim)
    }
}
