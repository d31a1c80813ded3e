//! Where images come from: folders, lists, archives, record files, servers, or memory.
//!
//! [`open`](Dataset::open) tells from a path or name what it stands for. Each kind of source is a
//! [`Listing`] of names and classes and a `Store` that reads image `i`, at any time and from any
//! thread. Archives are read through a `Blob`, bytes at offsets, wherever these lie.

mod address;
mod blob;
mod cache_dir;
mod choice;
mod cifar;
mod entries;
mod file_kind;
mod folder;
mod holdings;
mod idx;
mod list;
mod listing;
mod listing_cache;
mod named;
mod named_files;
mod open;
mod parquet;
mod part_folders;
mod parts;
mod patience;
mod pattern;
mod records;
mod remembered;
#[cfg(feature = "remote")]
mod remote;
mod selection;
mod shared;
mod shown;
mod subset;
mod table;
mod tar;
mod told;
mod tree;
mod unpack;
mod whole_file;

use crate::decode::{self, DecodeOptions, Format, ValueRange};
use crate::error::{DataError, ImageError};
use crate::image::Image;
use bytes::Bytes;
use entries::Entries;
use listing::{Labels, Listing, NO_LABEL};
use shared::Contents;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

pub use cache_dir::default as cache_dir;
pub use holdings::Holdings;
pub(crate) use holdings::counted;
pub(crate) use listing::FORMATS_TEXT;
pub use open::{Notice, OpenOptions, absolute_path, without_secrets};
pub use patience::Patience;
pub(crate) use patience::someone_waits;
pub use remembered::{Changes, FileList};
#[cfg(feature = "remote")]
pub use remote::{Service, ServiceError, answer, basic_authorization, download};
pub(crate) use shown::is_encoded;

/// Largest file that is read as one image: what the largest image that is decoded takes as 16-bit
/// RGBA without compression.
const MAX_FILE: u64 = 1_500_000_000;

/// Images that are looked at for samples of more than 8 bits.
const DEPTH_SAMPLE: usize = 4;

/// A fixed, ordered list of images with optional class labels.
///
/// Order and labels depend on the listing alone. In a folder or a single tar, images are sorted by
/// folder and name, and classes are folders, numbered in sorted order. All other sources keep their
/// own order and labels.
pub struct Dataset {
    entries: Entries,
    labels: Option<Vec<u32>>,
    class_names: Vec<String>,
    skipped: Vec<Skipped>,
    holdings: Holdings,
    content: u64,
    /// Numbers of the images that are gone, rising; see [`FileList`].
    gone: Vec<usize>,
    store: Box<dyn Store>,
    decoding: DecodeOptions,
    /// Hashes of what was read, if they are kept.
    contents: Option<Contents>,
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

    /// Whether an image is found by its name, so that equal names are the same image whatever else the
    /// listing says, such as its labels.
    fn reads_by_name(&self) -> bool {
        false
    }

    /// The file that holds image `i` and nothing else, if there is one on this machine.
    fn file(&self, _i: usize, _name: &str) -> Option<PathBuf> {
        None
    }

    /// What another process needs to read the same; `None` if it had better look itself.
    fn told(&self) -> Option<told::Source> {
        None
    }

    /// As [`read`](Self::read), but of a file maybe no more than its first `bytes`.
    fn head(&self, i: usize, name: &str, _bytes: usize) -> Result<Raw<'_>, ImageError> {
        self.read(i, name)
    }
}

/// An image as its source holds it.
pub(crate) enum Raw<'a> {
    /// An encoded file.
    File(Bytes),
    /// Pixels.
    Image(Cow<'a, Image>),
}

impl Dataset {
    /// Opens what a path or name stands for, without decoding any image; one that turns out
    /// unreadable is told by [`load`](Self::load).
    ///
    /// - a folder tree of images, of any depth: JPEG, PNG, WebP, BMP, GIF, TIFF and PNM. Their usual
    ///   extensions are believed, in either case; a file with another one that does not tell what it
    ///   is, or with none, is an image if its first bytes are. Names that start with a dot are passed
    ///   over, and so are copies (`.bak`, `~`, `.jpg_original`)
    /// - a `.tar` of such a tree, read in place; a `.tar.gz` is unpacked into the cache first. One
    ///   whose entries all lie in one top folder is taken to be that folder. What unpacking would
    ///   give is there, with links, files with holes and archives behind the end mark; names with
    ///   `..` and links out of the archive are [`skipped`](Self::skipped)
    /// - several tars in WebDataset's naming: `shards-{000..012}.tar`, `shards-*.tar`, or their folder
    /// - Parquet as Hugging Face publishes it: a file, a pattern, or the folder of a data set
    /// - a `.txt`, `.lst`, `.csv`, `.tsv` or `.jsonl` that lists one path per line, and maybe a label
    /// - the binary files of CIFAR-10 and CIFAR-100, their folder, or their `.tar.gz`
    /// - IDX files as of MNIST, or their folder, gzipped or not
    /// - `https://`, `s3://` and `gs://` addresses of tars, packed or not, and of Parquet, with the
    ///   feature `remote`
    /// - `cifar10`, `cifar100` and `fashion-mnist`, which are fetched if need be
    ///
    /// **What of a folder is taken.** Of a folder that holds several of these, in this order:
    /// record files of CIFAR or MNIST; Parquet that is named as a data set's (with a number or the
    /// word of a part: `train-00000-of-00001.parquet`), or likewise tars, or several tars of any
    /// name, if there are fewer than ten images for each of the files, such as previews; images;
    /// other Parquet; other tars. Parquet that has the name of a tar beside it is a table about it,
    /// and a single table beside images is one about them. `:source=images`, `tar`, `parquet` or
    /// `list` behind the path takes another. [`holdings`](Self::holdings) tell what was taken and
    /// what was passed over.
    ///
    /// **Parts.** `:train`, `:val` (or `:valid`, `:validation`) or `:test` behind the path stands for
    /// that part: the folder of that name, or of such a name as `train2017` or `val_images`, below
    /// common top folders; the files with that word in their names (`imagenet-val-012.tar`) or in
    /// such a folder; the files that CIFAR and MNIST have. `training`, `dev` and `testing` are words
    /// for parts too. A part that is not there is an error. Without such a word, all images are taken
    /// where folders of images make up the parts, and those of training where archives or record
    /// files do.
    ///
    /// **Samples.** Several tars are in WebDataset's naming, and so is one in which a `.cls` file, or a
    /// `.json` or `.txt` file, has the name of an image up to its first dot: `KEY.*` are one sample,
    /// of which one image is taken, `KEY.jpg` before `KEY.seg.png`, then JPEG, PNG, WebP and others in
    /// this order. Its class is the text of `KEY.cls`, else the field `label` or `cls` of `KEY.json`.
    /// An image without such a label has none, and leaves the others theirs. With `:source=images`,
    /// every image is taken.
    ///
    /// **Classes** are the folders below the common top folders that hold all images; if all of
    /// these are parts, the folders below them, those of one name together. There are none if some
    /// image lies in no such folder. A table, a list or record files have labels of their own.
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
    /// As [`open`](Self::open) for a file of these bytes.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Dataset, DataError> {
        open::from_bytes(name, bytes.into())
    }

    /// Wraps images in memory: (name, label, pixels), in the order given.
    ///
    /// The data set has labels if any image has one.
    ///
    /// # Panics
    /// If a label has no name in `class_names`.
    pub fn from_images(
        images: Vec<(String, Option<u32>, Image)>,
        class_names: Vec<String>,
    ) -> Dataset {
        let given = || images.iter().filter_map(|(_, label, _)| *label);
        let known = given().all(|label| (label as usize) < class_names.len());
        assert!(known, "a label without a class name");
        let label = |image: &(String, Option<u32>, Image)| image.1.unwrap_or(NO_LABEL);
        let labels = given().next().map(|_| images.iter().map(label).collect());
        let mut entries = Entries::default();
        for (name, _, image) in &images {
            entries.push(name, image.pixels.len() as u64);
        }
        let images: Vec<Image> = images.into_iter().map(|(_, _, image)| image).collect();
        let labels = labels.map_or(Labels::Absent, |labels| Labels::Given(labels, class_names));
        Dataset::new(Listing { entries, labels, ..Listing::default() }, Box::new(Memory(images)))
    }

    fn new(listing: Listing, store: Box<dyn Store>) -> Dataset {
        let Listing { entries, labels, skipped, mut holdings, content, .. } = listing;
        let (labels, class_names) = listing::classes(&entries, labels);
        listing::note_unlabelled(&entries, labels.as_deref().unwrap_or_default(), &mut holdings);
        let decoding = DecodeOptions::default();
        let (gone, contents) = (Vec::new(), None);
        Dataset {
            entries,
            labels,
            class_names,
            skipped,
            holdings,
            content,
            gone,
            store,
            decoding,
            contents,
        }
    }

    /// This data set, its files decoded as `decoding` says.
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
    /// for it, such as the file and row of Parquet. In a part of it that is not UTF-8, each byte
    /// that belongs to no character is `%` and two hexadecimal digits, and `%` is `%25`, so that
    /// different names stay different; all other names are as they are.
    pub fn name(&self, i: usize) -> &str {
        self.entries.name(i)
    }

    /// The file that holds image `i` and nothing else, if there is one on this machine: not in an
    /// archive or a record file, nor on a server.
    pub fn file(&self, i: usize) -> Option<PathBuf> {
        self.store.file(i, self.entries.name(i))
    }

    /// Class of image `i`, an index into [`class_names`](Self::class_names), if it has one.
    pub fn label(&self, i: usize) -> Option<u32> {
        self.labels.as_ref().map(|labels| labels[i]).filter(|&label| label != NO_LABEL)
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
        self.fetch(i, None).map(Cow::into_owned)
    }

    /// As [`load`](Self::load), without copying an image that is in memory already, and with a range
    /// of values in the place of the data set's own, if there is one.
    pub(crate) fn fetch(
        &self,
        i: usize,
        range: Option<ValueRange>,
    ) -> Result<Cow<'_, Image>, ImageError> {
        let decoding = DecodeOptions { range: range.or(self.decoding.range), ..self.decoding };
        match self.raw(i)? {
            Raw::File(bytes) => decode::decode(&bytes, &decoding).map(Cow::Owned),
            Raw::Image(image) => Ok(image),
        }
    }

    /// What a person should know of images of more than 8 bits a sample, if a few of the data set
    /// are so and use little of the range of their type.
    pub fn depth_note(&self) -> Option<String> {
        let looked_at = self.len().min(DEPTH_SAMPLE);
        let mut indices = (0..looked_at).map(|i| i * self.len() / looked_at);
        indices.find_map(|i| {
            let Ok(Raw::File(bytes)) = self.raw(i) else { return None };
            if !Format::of(&bytes)?.may_be_deep() {
                return None;
            }
            let (_, depth) = decode::decode_with_depth(&bytes, &self.decoding).ok()?;
            Some(format!("`{}` has {}", self.name(i), depth?.advice()?))
        })
    }

    /// Image `i` as it is stored: an encoded file, or pixels.
    pub(crate) fn raw(&self, i: usize) -> Result<Raw<'_>, ImageError> {
        let bytes = self.entries.bytes(i);
        if bytes > MAX_FILE {
            let reason = format!("{:.1} GB are more than any image takes", bytes as f64 / 1e9);
            return Err(ImageError::Read(io::Error::other(reason)));
        }
        let raw = self.store.read(i, self.entries.name(i)).map_err(ImageError::or_unreachable)?;
        if let Some(contents) = &self.contents {
            contents.note(i, &raw);
        }
        Ok(raw)
    }

    /// The beginning of image `i` as it is stored: maybe no more than the first `bytes` of a file.
    pub(crate) fn head(&self, i: usize, bytes: usize) -> Result<Raw<'_>, ImageError> {
        self.store.head(i, self.entries.name(i), bytes)
    }

    /// How the files are decoded.
    pub(crate) fn decoding(&self) -> &DecodeOptions {
        &self.decoding
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
