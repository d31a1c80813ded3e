//! A data set as text, for another process that would only list the same again: names and sizes of
//! millions of files on a shared disk, or the headers within a tar on a server, a request for each
//! megabyte, are asked for once, not by every process of a run.
//!
//! What takes little to open is not told: Parquet, whose footers say where everything is, and record
//! files.

use super::entries::{Block, Entries};
use super::folder::Folder;
use super::list::Files;
use super::part_folders::Chosen;
use super::{Dataset, Holdings, OpenOptions, Skipped, Store};
use crate::decode::DecodeOptions;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Everything of a [`Dataset`] that opening it finds.
#[derive(Serialize, Deserialize)]
struct Told {
    blocks: Vec<Block>,
    labels: Option<Vec<u32>>,
    class_names: Vec<String>,
    skipped: Vec<(String, String)>,
    holdings: Holdings,
    content: u64,
    source: Source,
}

/// A store that can be made again from what is known of it.
#[derive(Serialize, Deserialize)]
pub(super) enum Source {
    Folder(PathBuf),
    List(PathBuf),
    Tar(super::tar::Told),
    Chosen { whole: Box<Source>, chosen: Vec<u32>, prefix: String },
}

impl Source {
    /// `None` if it is not there, or not as it was.
    pub(super) fn open(self, options: &OpenOptions) -> Option<Box<dyn Store>> {
        Some(match self {
            Source::Folder(root) => Box::new(there(&root).then(|| Folder::known(&root))?),
            Source::List(folder) => Box::new(Files::known(folder)),
            Source::Tar(tar) => Box::new(tar.open(options)?),
            Source::Chosen { whole, chosen, prefix } => {
                Box::new(Chosen { whole: whole.open(options)?, chosen, prefix })
            }
        })
    }
}

fn there(folder: &Path) -> bool {
    folder.is_dir()
}

/// Files that are looked at, to find that a folder of the same name holds other images.
const LOOKED_AT: usize = 8;

/// Whether a few files, evenly spread, have the sizes that are told of them.
fn looks_the_same(entries: &Entries, store: &dyn Store) -> bool {
    let same = |i: usize| match (store.file(i, entries.name(i)), entries.bytes(i)) {
        (None, _) | (_, 0) => true,
        (Some(file), bytes) => fs::metadata(file).is_ok_and(|found| found.len() == bytes),
    };
    let count = entries.len().min(LOOKED_AT);
    (0..count).all(|k| same(k * entries.len() / count))
}

impl Dataset {
    /// This data set as text for [`Dataset::from_told`]; `None` if it is quicker to open again, or has
    /// names that a text cannot hold.
    pub fn told(&self) -> Option<Vec<u8>> {
        let plain = self.gone.is_empty() && self.decoding == DecodeOptions::default();
        let source = self.store.told().filter(|_| plain)?;
        let skipped = self.skipped.iter().map(|s| (s.name.clone(), s.reason.clone())).collect();
        let told = Told {
            blocks: self.entries.blocks().to_vec(),
            labels: self.labels.clone(),
            class_names: self.class_names.clone(),
            skipped,
            holdings: self.holdings.clone(),
            content: self.content,
            source,
        };
        // A path that is not UTF-8 is no text.
        serde_json::to_vec(&told).ok()
    }

    /// The data set of which another process has [`told`](Self::told); `None` if it is not to be found
    /// from here. Of files, a few are looked at; the others are believed. Archives on servers are asked
    /// for, each by one request, whether they are still the same.
    pub fn from_told(text: &[u8], options: &OpenOptions) -> Option<Dataset> {
        let Told { blocks, labels, class_names, skipped, holdings, content, source } =
            serde_json::from_slice(text).ok()?;
        let entries = Entries::from_blocks(blocks)?;
        let fits = |labels: &Vec<u32>| labels.len() == entries.len();
        let store =
            source.open(options).filter(|store| looks_the_same(&entries, store.as_ref()))?;
        let skipped = skipped.into_iter().map(|(name, reason)| Skipped { name, reason }).collect();
        let decoding = DecodeOptions::default();
        labels.as_ref().is_none_or(fits).then(|| Dataset {
            entries,
            labels,
            class_names,
            skipped,
            holdings,
            content,
            gone: Vec::new(),
            store,
            decoding,
            contents: None,
        })
    }
}
