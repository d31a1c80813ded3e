//! What can be done with the features of many images: find, compare, choose.
//!
//! ```text
//! images ─► contents ─► known before? ─► encode ─► vectors of unit length ─► nearest, duplicates, choose
//!                            └── cache ──┘
//! ```
//! [`vectors`] is the only function here that knows an encoder; the others work on numbers.

pub mod cache;
mod choose;
pub mod duplicates;
mod nearest;
mod read;

pub use choose::{Rule, choose, clusters};
pub use duplicates::Duplicate;
pub use nearest::{Neighbour, nearest};

use crate::batch::to_host;
use crate::config::FeatureKind;
use crate::eval::{EvalError, FrozenEncoder, features};
use crate::nn::tensors;
use cache::Cache;
use moco_data::{BadFile, Content, Dataset};
use moco_peers::Peers;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Images that are encoded before their features are kept, so that a stop costs no more.
const PART: usize = 20_000;

/// Features of the images of a data set that can be read.
#[derive(Debug, Default)]
pub struct Vectors {
    /// `[rows, dim]`, row-major, each row of unit length.
    pub values: Vec<f32>,
    /// Width of a row.
    pub dim: usize,
    /// Which image each row belongs to, rising.
    pub indices: Vec<usize>,
    /// What each of these images is made of.
    pub contents: Vec<Content>,
    /// Images that cannot be read.
    pub bad: Vec<BadFile>,
    /// Rows that were encoded now; all others were known before.
    pub encoded: usize,
    /// Why features could not be kept for the next time, if so.
    pub not_kept: Option<io::Error>,
}

/// How images become features: by which encoder, and which output of it is taken.
pub struct Encoding {
    frozen: FrozenEncoder,
    feature: FeatureKind,
    /// Stands for weights, output, and what is done to an image before.
    key: u128,
}

/// Features of all images of `dataset`: those known in the folder `cache` from there, the others by
/// encoding, after which they are known. Images of equal bytes are encoded once. `progress` hears
/// (what is done, done, total).
///
/// A collective call where several ranks share the reading and encoding. Rank 0 alone uses the folder
/// `cache` and has all features in the end; the others have those that were encoded now.
///
/// # Errors
/// [`EvalError`] when a server does not give the images, or a feature is infinite or no number.
pub fn vectors(
    encoding: &mut Encoding,
    dataset: &Arc<Dataset>,
    cache: Option<&Path>,
    threads: usize,
    progress: &mut dyn FnMut(&'static str, usize, usize),
) -> Result<Vectors, EvalError> {
    let peers = encoding.frozen.peers();
    let found = read::contents(dataset, threads, peers, progress)?;
    let dim = encoding.frozen.encoder.width(encoding.feature);
    let cache = cache.filter(|_| peers.speaks()).map(|root| Cache::at(root, encoding.key, dim));
    let wanted: HashSet<u128> = found.images.iter().map(|(_, content)| content.digest).collect();
    let mut known = match &cache {
        Some(cache) => cache.load(|content| wanted.contains(&content)),
        None => HashMap::new(),
    };
    let mut out = Vectors { dim, bad: found.bad, ..Vectors::default() };
    let missing = as_told(missing(&found.images, &known), peers);
    out.encoded = missing.len();
    let mut done = 0;
    for part in missing.chunks(PART) {
        let images = dataset.subset(part.iter().map(|(index, _)| *index).collect());
        let mut told = |now: usize, _: usize| progress("encoding", done + now, missing.len());
        let encoded =
            features(&mut encoding.frozen, &images, encoding.feature, threads, &mut told)?;
        done += part.len();
        let digests: Vec<u128> = encoded.indices.iter().map(|&i| part[i].1).collect();
        let saved = cache.as_ref().map_or(Ok(()), |cache| cache.save(&digests, &encoded.values));
        out.not_kept = saved.err().or(out.not_kept);
        known.extend(digests.into_iter().zip(encoded.values.chunks_exact(dim).map(Vec::from)));
        out.bad
            .extend(encoded.bad.into_iter().map(|bad| BadFile { index: part[bad.index].0, ..bad }));
    }
    for (index, content) in found.images {
        if let Some(row) = known.get(&content.digest) {
            out.values.extend(unit(row));
            out.indices.push(index);
            out.contents.push(content);
        }
    }
    Ok(out)
}

/// The images whose features are not known, one of each content, and their contents.
fn missing(images: &[(usize, Content)], known: &HashMap<u128, Vec<f32>>) -> Vec<(usize, u128)> {
    let mut seen = HashSet::new();
    let pairs = images.iter().map(|(index, content)| (*index, content.digest));
    let is_new = |(_, digest): &(usize, u128)| !known.contains_key(digest) && seen.insert(*digest);
    pairs.filter(is_new).collect()
}

/// The images that rank 0 misses.
fn as_told(missing: Vec<(usize, u128)>, peers: Peers) -> Vec<(usize, u128)> {
    if peers.alone() {
        return missing;
    }
    let bytes = |(index, digest): (usize, u128)| {
        let index = (index as u64).to_le_bytes();
        index.into_iter().chain(digest.to_le_bytes())
    };
    let told = peers.tell(missing.into_iter().flat_map(bytes).collect(), "images to encode");
    let (images, _) = told.as_chunks::<24>();
    let image = |bytes: &[u8; 24]| {
        let (index, digest) = bytes.split_at(8);
        let index = u64::from_le_bytes(index.try_into().expect("8 bytes"));
        (index as usize, u128::from_le_bytes(digest.try_into().expect("16 bytes")))
    };
    images.iter().map(image).collect()
}

/// The row at unit length; a row of zeros stays.
fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1e-12);
    row.iter().map(move |value| (f64::from(*value) / length) as f32)
}

impl Encoding {
    /// Takes an encoder whose weights stay as they are.
    pub fn new(mut frozen: FrozenEncoder, feature: FeatureKind) -> Encoding {
        let mut hash = Fnv::default();
        hash.feed(format!("{} {}", feature.name(), frozen.view).bytes().map(u128::from));
        for (name, values) in tensors(frozen.encoder.as_mut()) {
            hash.feed(name.bytes().map(u128::from));
            hash.feed(to_host(values).into_iter().map(|value| u128::from(value.to_bits())));
        }
        Encoding { frozen, feature, key: hash.0 }
    }
}

/// FNV-1a of 128 bits, a value at a time.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn feed(&mut self, values: impl Iterator<Item = u128>) {
        const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
        self.0 = values.fold(self.0, |hash, value| (hash ^ value).wrapping_mul(PRIME));
    }
}
