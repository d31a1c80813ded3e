//! Where images come from: folders, lists, archives, record files, servers, or memory.
//!
//! [`open`](Dataset::open) tells from a path or name what it stands for. Each kind of source is a
//! [`Listing`] of names and classes and a `Store` that reads image `i`, at any time and from any
//! thread. Archives are read through a `Blob`, bytes at offsets, wherever these lie.

mod blob;
mod cache_dir;
mod cifar;
mod entries;
mod folder;
mod holdings;
mod idx;
mod list;
mod listing;
mod listing_cache;
mod named;
mod open;
mod parquet;
mod pattern;
#[cfg(feature = "remote")]
mod remote;
mod selection;
mod subset;
mod tar;
mod tar_index;
mod unpack;

use crate::decode::{self, DecodeOptions};
use crate::error::{DataError, ImageError};
use crate::image::Image;
use bytes::Bytes;
use entries::Entries;
use listing::{Labels, Listing};
use std::borrow::Cow;
use std::io;
use std::path::Path;

pub use holdings::Holdings;
pub(crate) use listing::EXTENSIONS_TEXT;
pub use open::{Notice, OpenOptions, absolute_path};

/// Largest file that is read as one image: what the largest image that is decoded takes as 16-bit
/// RGBA without compression.
const MAX_FILE: u64 = 1_500_000_000;

/// A fixed, ordered list of images with optional class labels.
///
/// Order and labels depend on the listing alone. In a folder or a single tar, images are sorted by
/// folder and name, and a class is a first-level folder, numbered in sorted order; there are labels
/// only if every image lies below such a folder. All other sources keep their own order and labels.
pub struct Dataset {
    entries: Entries,
    labels: Option<Vec<u32>>,
    class_names: Vec<String>,
    skipped: Vec<Skipped>,
    holdings: Holdings,
    content: u64,
    store: Box<dyn Store>,
    decoding: DecodeOptions,
}

/// Something that was found while listing and is not in the data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its path relative to the root, with `/` between its parts.
    pub name: String,
    /// Why it was left out.
    pub reason: String,
}

/// Reads images by number.
trait Store: Send + Sync {
    /// Reads image `i`, which is called `name`.
    fn read(&self, i: usize, name: &str) -> Result<Raw<'_>, ImageError>;
}

/// An image as its source holds it.
pub(crate) enum Raw<'a> {
    /// An encoded file.
    File(Bytes),
    /// Pixels.
    Image(Cow<'a, Image>),
}

impl Dataset {
    /// Opens what a path or name stands for, without opening any image; one that turns out
    /// unreadable is [`load`](Self::load)'s affair.
    ///
    /// - a folder tree of images, of any depth: the files that end in `.jpg`, `.jpeg`, `.png`,
    ///   `.webp`, `.bmp`, `.gif`, `.tif` or `.tiff`, in either case; names that start with a dot
    ///   are passed over
    /// - a `.tar` of such a tree, read in place; a `.tar.gz` is unpacked into the cache first. One
    ///   whose entries all lie in one top folder is taken to be that folder
    /// - several tars in WebDataset's naming: `shards-{000..012}.tar`, `shards-*.tar`, or their folder
    /// - Parquet as Hugging Face publishes it: a file, a pattern, or the folder of a data set
    /// - a `.txt`, `.lst`, `.tsv` or `.csv` that lists one path per line, and maybe a label
    /// - the binary files of CIFAR-10 and CIFAR-100, their folder, or their `.tar.gz`
    /// - IDX files as of MNIST, or their folder, gzipped or not
    /// - `https://`, `s3://` and `gs://` addresses of tars and of Parquet, with the feature `remote`
    /// - `cifar10`, `cifar100` and `fashion-mnist`, which are fetched if need be
    ///
    /// Of those that have parts, `:test` behind the path stands for the test images; without it,
    /// it is the training images.
    ///
    /// # Errors
    /// If there is no such thing, it cannot be read, is damaged, or holds no image.
    pub fn open(path: &Path) -> Result<Dataset, DataError> {
        OpenOptions::default().open(path)
    }

    /// As [`open`](Self::open), of a file in memory: a `.tar`, Parquet, an IDX file of images, a
    /// record file of CIFAR, or one encoded image; `name` is what it would be called on disk.
    ///
    /// # Errors
    /// As for a file.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Dataset, DataError> {
        open::from_bytes(name, bytes.into())
    }

    /// Wraps images in memory: (name, label, pixels), in the order given.
    ///
    /// The data set has labels if every image has one.
    ///
    /// # Panics
    /// If a label has no name in `class_names`.
    pub fn from_images(
        images: Vec<(String, Option<u32>, Image)>,
        class_names: Vec<String>,
    ) -> Dataset {
        let labels: Option<Vec<u32>> = images.iter().map(|(_, label, _)| *label).collect();
        let known = labels.iter().flatten().all(|&label| (label as usize) < class_names.len());
        assert!(known, "a label without a class name");
        let mut entries = Entries::default();
        for (name, _, image) in &images {
            entries.push(name, image.pixels.len() as u64);
        }
        let images: Vec<Image> = images.into_iter().map(|(_, _, image)| image).collect();
        let labels = labels.map_or(Labels::Absent, |labels| Labels::Given(labels, class_names));
        Dataset::new(Listing { entries, labels, ..Listing::default() }, Box::new(Memory(images)))
    }

    fn new(listing: Listing, store: Box<dyn Store>) -> Dataset {
        let Listing { entries, labels, skipped, holdings, content, .. } = listing;
        let (labels, class_names) = listing::classes(&entries, labels);
        let decoding = DecodeOptions::default();
        Dataset { entries, labels, class_names, skipped, holdings, content, store, decoding }
    }

    /// The same data set, whose files are decoded in another way than by default.
    pub fn with_decoding(self, decoding: DecodeOptions) -> Dataset {
        Dataset { decoding, ..self }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Name of image `i`: its path relative to the root, with `/` between its parts, or what stands
    /// for it, such as the file and row of Parquet. Bytes of a path that are not UTF-8 show as `�`.
    pub fn name(&self, i: usize) -> &str {
        self.entries.name(i)
    }

    /// Class of image `i`, an index into [`class_names`](Self::class_names).
    pub fn label(&self, i: usize) -> Option<u32> {
        self.labels.as_ref().map(|labels| labels[i])
    }

    /// Names of the classes, by number; empty if there are none.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// What looked like a part of the data set while it was listed and had to be left out: folders
    /// that cannot be read, links that lead in circles, pipes named like images.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What the source was taken to be, and what in it was passed over.
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// Reads image `i` and decodes it to RGB.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is unreasonably large.
    ///
    /// # Panics
    /// If there is no image `i`.
    pub fn load(&self, i: usize) -> Result<Image, ImageError> {
        self.fetch(i).map(Cow::into_owned)
    }

    /// As [`load`](Self::load), without copying an image that is in memory already.
    pub(crate) fn fetch(&self, i: usize) -> Result<Cow<'_, Image>, ImageError> {
        match self.raw(i)? {
            Raw::File(bytes) => decode::decode(&bytes, &self.decoding).map(Cow::Owned),
            Raw::Image(image) => Ok(image),
        }
    }

    /// Image `i` as it is stored: an encoded file, or pixels.
    pub(crate) fn raw(&self, i: usize) -> Result<Raw<'_>, ImageError> {
        let bytes = self.entries.bytes(i);
        if bytes > MAX_FILE {
            let reason = format!("{:.1} GB are more than any image takes", bytes as f64 / 1e9);
            return Err(ImageError::Read(io::Error::other(reason)));
        }
        self.store.read(i, self.entries.name(i))
    }

    /// A number that stands for the list of names and byte sizes; equal across runs and machines
    /// for equal lists, whether they come from a folder or a tar.
    pub fn fingerprint(&self) -> u64 {
        listing::fingerprint(&self.entries, self.content)
    }
}

/// Images in memory.
struct Memory(Vec<Image>);

impl Store for Memory {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        Ok(Raw::Image(Cow::Borrowed(&self.0[i])))
    }
}

/// One encoded image in memory.
struct Encoded(Bytes);

impl Store for Encoded {
    fn read(&self, _: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        Ok(Raw::File(self.0.clone()))
    }
}
