//! Where images come from: a folder tree, a tar read in place, or memory.

mod folder;
mod listing;
mod tar;

use crate::decode::{self, DecodeOptions};
use crate::error::{DataError, ImageError};
use crate::image::Image;
use listing::{Entry, Listing};
use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

pub(crate) use listing::EXTENSIONS_TEXT;

/// A fixed, ordered list of images with optional class labels.
///
/// Order and labels depend on names alone: images are sorted by folder and name, and a class is a
/// first-level folder, numbered in sorted order. There are labels only if every image lies below
/// such a folder.
pub struct Dataset {
    entries: Vec<Entry>,
    labels: Option<Vec<u32>>,
    class_names: Vec<String>,
    store: Store,
    decoding: DecodeOptions,
}

/// What `load` reads from; entry `i` of the data set is item `i` of the store.
enum Store {
    Folder(folder::Folder),
    Tar(tar::Tar),
    Memory(Vec<Image>),
}

impl Dataset {
    /// Lists the images of a folder tree of any depth, or of a `.tar` of one, which is read in
    /// place. Files count as images by their extension: `.jpg`, `.jpeg`, `.png`, `.webp`, `.bmp`,
    /// in either case. Names that start with a dot are passed over. A tar whose entries all lie
    /// in one top folder is taken to be that folder.
    ///
    /// No image is opened; one that turns out unreadable is [`load`](Self::load)'s affair.
    ///
    /// # Errors
    /// If the path is missing, is neither folder nor tar, cannot be read, or holds no image.
    pub fn open(path: &Path) -> Result<Dataset, DataError> {
        let metadata = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::Missing { path: path.into() },
            _ => DataError::Unreadable { path: path.into(), source },
        })?;
        let (listing, store) = if metadata.is_dir() {
            let (listing, folder) = folder::Folder::scan(path)?;
            (listing, Store::Folder(folder))
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) {
            let (listing, tar) = tar::Tar::scan(path)?;
            (listing, Store::Tar(tar))
        } else {
            return Err(DataError::NotFolderOrTar { path: path.into() });
        };
        let Listing { entries, others } = listing;
        match (entries.is_empty(), others) {
            (true, 0) => Err(DataError::Empty { path: path.into() }),
            (true, others) => Err(DataError::NoImages { path: path.into(), others }),
            (false, _) => {
                let (labels, class_names) = listing::classes(&entries);
                Ok(Dataset {
                    entries,
                    labels,
                    class_names,
                    store,
                    decoding: DecodeOptions::default(),
                })
            }
        }
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
        let entries = images
            .iter()
            .map(|(name, _, image)| Entry { name: name.clone(), bytes: image.pixels.len() as u64 })
            .collect();
        let store = Store::Memory(images.into_iter().map(|(_, _, image)| image).collect());
        Dataset { entries, labels, class_names, store, decoding: DecodeOptions::default() }
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

    /// Path of image `i` relative to the root, with `/` between its parts.
    pub fn name(&self, i: usize) -> &str {
        &self.entries[i].name
    }

    /// Class of image `i`, an index into [`class_names`](Self::class_names).
    pub fn label(&self, i: usize) -> Option<u32> {
        self.labels.as_ref().map(|labels| labels[i])
    }

    /// Names of the classes, sorted; empty if there are none.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
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
        let bytes = match &self.store {
            Store::Folder(folder) => folder.read(i)?,
            Store::Tar(tar) => tar.read(i)?,
            Store::Memory(images) => return Ok(Cow::Borrowed(&images[i])),
        };
        decode::decode(&bytes, &self.decoding).map(Cow::Owned)
    }

    /// A number that stands for the list of names and byte sizes; equal across runs and machines
    /// for equal lists, whether they come from a folder or a tar.
    pub fn fingerprint(&self) -> u64 {
        listing::fingerprint(&self.entries)
    }
}
