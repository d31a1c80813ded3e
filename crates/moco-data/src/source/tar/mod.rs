//! Tar archives of images, one or many, read in place: one scan notes where each image lies, and
//! workers then read at those offsets side by side.
//!
//! One archive is a folder tree, unless it is of samples in WebDataset's naming
//! (<https://github.com/webdataset/webdataset>), as [`samples::are_samples`] tells; many always are.
//! All that unpacking with GNU tar would give is there: links within the archive, files with holes,
//! archives behind the first one's end mark (as with `-i`), and of files with one name, the last.

mod header;
mod index;
mod label;
mod links;
mod members;
mod pax;
mod samples;
mod sparse;
mod tally;
mod told;
mod walk;

use super::blob::Blob;
use super::holdings::counted;
use super::listing::{self, LabelCollector, Labels, Listing};
use super::told::Source;
use super::{OpenOptions, Raw, Skipped, Store};
use crate::error::{DataError, ImageError};
use members::{Contents, Member};
use samples::Chosen;
use serde::{Deserialize, Serialize};
use sparse::Piece;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tally::Tally;
pub(super) use told::Told;
use walk::{Ending, Fault};

/// An archive to read.
pub(super) struct Shard {
    /// Path or address.
    pub path: PathBuf,
    pub blob: Arc<Blob>,
    /// What the index of a distant archive is kept under: changes when the archive does.
    pub version: Option<String>,
}

/// Open archives and where their images lie, in the listing's order.
#[derive(Default)]
pub(super) struct Tar {
    shards: Vec<Arc<Blob>>,
    /// Where they lie, without secrets.
    paths: Vec<PathBuf>,
    spans: Vec<Span>,
    /// The stored parts of images with holes.
    pieces: HashMap<usize, Box<[Piece]>>,
}

/// The bytes of one file within an archive.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Span {
    shard: u32,
    offset: u64,
    bytes: u64,
}

/// How archives are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The archive is a tree of images, with labels beside them if there are any.
    Tree,
    Samples,
}

impl Tar {
    /// Notes name, offset and size of every image, without reading any. The images of a single
    /// archive are sorted as those of a folder; of many, they keep the order of the archives and
    /// within them, and each name begins with that of its archive. With `every_image`, no image is
    /// passed over for being of the same sample as another.
    pub(super) fn scan(
        shards: Vec<Shard>,
        every_image: bool,
        options: &OpenOptions,
    ) -> Result<(Listing, Tar), DataError> {
        let archives = contents_of_all(&shards, options)?;
        let reading = match &archives[..] {
            _ if every_image => Reading::Tree,
            [single] if !samples::are_samples(&single.members) => Reading::Tree,
            _ => Reading::Samples,
        };
        let single = shards.len() == 1;
        let prefixes = if single { vec![String::new()] } else { names_of(&shards) };
        let mut scan = Scan::default();
        scan.listing.holdings.chosen = chosen(shards.len(), reading);
        for (i, archive) in archives.into_iter().enumerate() {
            scan.add(i as u32, &prefixes[i], archive, reading, single);
        }
        scan.tar.paths = shards.iter().map(|shard| shard.path.clone()).collect();
        let shards: Vec<_> = shards.into_iter().map(|shard| shard.blob).collect();
        Ok(scan.finish(shards))
    }
}

/// What is found while the archives are gone through.
#[derive(Default)]
struct Scan {
    listing: Listing,
    tar: Tar,
    tally: Tally,
    labels: LabelCollector,
    absolute: usize,
    without_mark: usize,
    strange: usize,
}

impl Scan {
    fn add(&mut self, i: u32, prefix: &str, archive: Contents, reading: Reading, single: bool) {
        let Contents { mut members, skipped, passed_over, absolute, ending } = archive;
        self.absolute += absolute;
        match ending {
            Ending::Mark => {}
            Ending::NoMark => self.without_mark += 1,
            Ending::Strange(bytes) => self.strange += bytes as usize,
        }
        for (kind, count) in &passed_over {
            self.listing.holdings.pass_over(kind, *count);
        }
        let named = |(name, reason): (String, _)| Skipped {
            name: format!("{prefix}{name}"),
            reason: String::from(reason),
        };
        self.listing.skipped.extend(skipped.into_iter().map(named));
        if reading == Reading::Samples {
            let all = members.len();
            members.retain(|member| !samples::is_reserved(&member.name));
            let kind = "files in webdataset's own `__folders__`";
            self.listing.holdings.pass_over(kind, all - members.len());
            self.tally.count_scattered(&members);
        }
        if single {
            strip_top_folder(&mut members);
            members.sort_by(|a, b| listing::order(&a.name, &b.name));
        }
        let chosen = match reading {
            Reading::Tree => self.tally.all(&members),
            Reading::Samples => self.tally.choose(&members),
        };
        let mut others: HashMap<&str, usize> = HashMap::new();
        for member in &members {
            // A label file is not passed over.
            if let Some(kind) = member.other.as_ref().filter(|_| !member.has_label()) {
                *others.entry(kind).or_default() += 1;
            }
        }
        for (kind, count) in others {
            self.listing.holdings.pass_over(kind, count);
        }
        self.take(i, prefix, &mut members, chosen);
    }

    fn take(&mut self, shard: u32, prefix: &str, members: &mut [Member], chosen: Vec<Chosen>) {
        for (i, label) in chosen {
            let Member { name, offset, bytes, pieces, .. } = &mut members[i];
            if let Some(pieces) = pieces.take() {
                self.tar.pieces.insert(self.tar.spans.len(), pieces);
            }
            self.listing.entries.push_parts(&[prefix, name], *bytes);
            self.tar.spans.push(Span { shard, offset: *offset, bytes: *bytes });
            self.labels.push(label.as_deref());
        }
    }

    fn finish(self, shards: Vec<Arc<Blob>>) -> (Listing, Tar) {
        let Scan { mut listing, mut tar, tally, labels, .. } = self;
        let count = shards.len();
        if tally.has_labels() {
            listing.labels = labels.finish();
        } else if count > 1 {
            listing.labels = Labels::Absent;
        }
        let holdings = &mut listing.holdings;
        tally.tell(holdings);
        if self.absolute > 0 {
            let names = counted(self.absolute, "names");
            holdings.note(format!("the first `/` is left out of {names}"));
        }
        if self.without_mark > 0 {
            let tars = counted(self.without_mark, "tars");
            holdings.note(format!("{tars} without an end mark, maybe cut short"));
        }
        if self.strange > 0 {
            let bytes = counted(self.strange, "bytes");
            holdings.note(format!("{bytes} behind the end mark are of no tar and are left out"));
        }
        if let Some(Skipped { name, reason }) = listing.skipped.first() {
            let files = counted(listing.skipped.len(), "files");
            holdings.note(format!("{files} left out, such as `{name}` ({reason})"));
            if listing.entries.is_empty() {
                holdings.pass_over(
                    &format!("files left out, such as `{name}` ({reason})"),
                    listing.skipped.len(),
                );
            }
        }
        tar.shards = shards;
        (listing, tar)
    }
}

impl Store for Tar {
    fn told(&self) -> Option<Source> {
        Told::of(self).map(Source::Tar)
    }

    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        let span = &self.spans[i];
        let blob = &self.shards[span.shard as usize];
        Ok(Raw::File(match self.pieces.get(&i) {
            None => blob.read(span.offset, span.bytes as usize)?,
            Some(pieces) => members::sparse_bytes(blob, span.bytes, pieces)?.into(),
        }))
    }

    fn head(&self, i: usize, name: &str, bytes: usize) -> Result<Raw<'_>, ImageError> {
        if self.pieces.contains_key(&i) {
            return self.read(i, name);
        }
        let span = &self.spans[i];
        let blob = &self.shards[span.shard as usize];
        Ok(Raw::File(blob.read(span.offset, bytes.min(span.bytes as usize))?))
    }
}

/// What the archives were taken to be.
fn chosen(count: usize, reading: Reading) -> String {
    match (count, reading) {
        (1, Reading::Tree) => "a tar of images".into(),
        (1, Reading::Samples) => "a tar of samples (WebDataset)".into(),
        (_, Reading::Tree) => format!("{count} tars of images"),
        (_, Reading::Samples) => format!("{count} tars"),
    }
}

/// What the names of each archive's images begin with: the archive's file name, or as much of its
/// path as tells it from the others.
fn names_of(shards: &[Shard]) -> Vec<String> {
    let paths: Vec<Vec<String>> = shards.iter().map(|shard| parts(&shard.path)).collect();
    let longest = paths.iter().map(Vec::len).max().unwrap_or(0);
    let tails = |count: usize| -> Vec<String> {
        let tail = |path: &Vec<String>| path[path.len().saturating_sub(count)..].join("/") + "/";
        paths.iter().map(tail).collect()
    };
    let distinct = |names: &Vec<String>| names.iter().collect::<HashSet<_>>().len() == names.len();
    (1..longest).map(tails).find(distinct).unwrap_or_else(|| tails(1))
}

fn parts(path: &Path) -> Vec<String> {
    path.iter().map(|part| listing::shown_os(part).into_owned()).collect()
}

/// The contents of each archive, several archives at a time.
fn contents_of_all(shards: &[Shard], options: &OpenOptions) -> Result<Vec<Contents>, DataError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((i, shard)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            shards.get(i).map(|shard| (i, shard))
        } {
            let contents = index::load(shard, options).map_or_else(
                || {
                    let contents = members::contents(&shard.blob)?;
                    index::save(shard, &contents, options);
                    Ok(contents)
                },
                Ok,
            );
            if let Ok(mut done) = done.lock() {
                done.push((i, contents));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, shards.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(i, _)| *i);
    let whole = |(i, contents): (usize, Result<_, Fault>)| {
        contents.map_err(|fault| explain(&shards[i].path, fault))
    };
    done.into_iter().map(whole).collect()
}

/// The visible files of an archive, without those that have holes.
pub(super) fn members(path: &Path, blob: &Arc<Blob>) -> Result<Vec<Member>, DataError> {
    let contents = members::contents(blob).map_err(|fault| explain(path, fault))?;
    Ok(contents.members.into_iter().filter(|member| member.pieces.is_none()).collect())
}

fn explain(path: &Path, fault: Fault) -> DataError {
    match fault {
        Fault::Read(source) => DataError::Unreadable { path: path.into(), source },
        Fault::Damaged(reason) => DataError::DamagedTar { path: path.into(), reason },
    }
}

/// Makes a top folder that holds everything the root.
fn strip_top_folder(members: &mut [Member]) {
    let top = |member: &Member| member.name.split_once('/').map(|(top, _)| top.to_string());
    let Some(first) = members.first().and_then(top) else { return };
    if members.iter().all(|member| top(member).is_some_and(|top| top == first)) {
        for member in members {
            member.name.drain(..=first.len());
        }
    }
}
