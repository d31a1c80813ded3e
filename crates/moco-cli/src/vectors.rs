//! Features of images for the commands that search, compare and choose.

use crate::args::VectorArgs;
use crate::console::Stage;
use crate::data;
use crate::session::{Machine, chosen_encoder};
use anyhow::{bail, ensure};
use moco::features::{Encoding, Vectors, vectors};
use moco_data::{Dataset, cache_dir};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An encoder, and where its features are kept.
pub struct Workshop {
    encoding: Encoding,
    cache: Option<PathBuf>,
    threads: usize,
}

/// A data set and its features.
pub struct Collection {
    pub images: Arc<Dataset>,
    pub vectors: Vectors,
}

impl Workshop {
    /// Loads the encoder that `args` names.
    pub fn open(args: &VectorArgs) -> anyhow::Result<Workshop> {
        let machine = Machine::open(&args.machine)?;
        let (frozen, config) = chosen_encoder(&args.encoder, &machine.device)?;
        let feature = args.feature.into();
        config.check_feature("--feature", feature)?;
        let cache = cache_dir().filter(|_| !args.no_cache).map(|cache| cache.join("features"));
        let threads = machine.options.threads;
        Ok(Workshop { encoding: Encoding::new(frozen, feature), cache, threads })
    }

    /// Opens a data set and makes its features, with a word on stderr about what was left out.
    pub fn collection(&mut self, path: &Path) -> anyhow::Result<Collection> {
        let images = Arc::new(data::open_together(path)?);
        self.of(images)
    }

    /// Makes the features of a data set, of which rank 0 has all and the other ranks a part.
    pub fn of(&mut self, images: Arc<Dataset>) -> anyhow::Result<Collection> {
        let mut stage = Stage::new("reading");
        let mut told = |name: &'static str, done, total| stage.advance(name, done, total);
        let cache = self.cache.as_deref();
        let vectors = vectors(&mut self.encoding, &images, cache, self.threads, &mut told)?;
        drop(stage);
        if let Some(first) = vectors.bad.first() {
            let (bad, total) = (vectors.bad.len(), images.len());
            let example = format!("for example {}: {}", first.name, first.reason);
            if vectors.indices.is_empty() {
                bail!("none of the {total} images can be read, {example}");
            }
            eprintln!("warning: left out {bad} of {total} images that cannot be read, {example}");
        }
        let (count, encoded) = (vectors.indices.len(), vectors.encoded);
        eprintln!("{count} images, {encoded} encoded now");
        if let Some(error) = &vectors.not_kept {
            eprintln!("note: the features are not kept for the next time: {error}");
        }
        Ok(Collection { images, vectors })
    }
}

impl Collection {
    /// Name of the image of a row.
    pub fn name(&self, row: usize) -> &str {
        self.images.name(self.vectors.indices[row])
    }

    /// The file of the image of a row, as any folder understands it.
    pub fn file(&self, row: usize) -> Option<PathBuf> {
        let file = self.images.file(self.vectors.indices[row])?;
        Some(std::path::absolute(&file).unwrap_or(file))
    }

    /// The lines of a list of files that `--data` reads.
    pub fn list(&self, rows: impl Iterator<Item = usize>) -> anyhow::Result<String> {
        let mut text = String::new();
        for row in rows {
            let path = self.file(row).map(|file| file.to_string_lossy().into_owned());
            let Some(path) = path else {
                bail!(
                    "`{}` is no file of its own but part of an archive, which a list cannot name: \
                     let --out end in .csv, or unpack the archive",
                    self.name(row)
                )
            };
            ensure!(
                !path.contains(['\n', '\r', '\t', char::REPLACEMENT_CHARACTER]),
                "`{}` has a name that a list cannot hold: rename it, or let --out end in .csv",
                self.name(row)
            );
            text += &path;
            text.push('\n');
        }
        Ok(text)
    }
}
