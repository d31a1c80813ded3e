//! CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>): records of one fixed size, one after another.
//!
//! A record of CIFAR-10 is a label and 3072 pixels; of CIFAR-100, a coarse label, a fine one and
//! the pixels. The fine one is taken. Pixels are 32 rows of red, then of green, then of blue.

use super::blob::Blob;
use super::entries::Entries;
use super::listing::{Fnv, Labels, Listing, shown_os};
use super::selection::Part;
use super::{Holdings, Raw, Store};
use crate::error::{DataError, ImageError};
use crate::image::Image;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE * 3;

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cifar10,
    Cifar100,
}

/// One file of records.
pub(super) struct Batch {
    /// Path, for messages; its file name begins the names of the images.
    pub path: PathBuf,
    pub blob: Arc<Blob>,
    /// Where the records begin and how many bytes they take.
    pub start: u64,
    pub length: u64,
}

/// Files of records.
pub(super) struct Cifar {
    batches: Vec<Batch>,
    /// Batch and offset of each image.
    places: Vec<(u32, u64)>,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Cifar10, Kind::Cifar100];

    fn name(self) -> &'static str {
        match self {
            Kind::Cifar10 => "CIFAR-10",
            Kind::Cifar100 => "CIFAR-100",
        }
    }

    fn record(self) -> usize {
        self.label_bytes() + PIXELS
    }

    fn label_bytes(self) -> usize {
        match self {
            Kind::Cifar10 => 1,
            Kind::Cifar100 => 2,
        }
    }

    fn classes(self) -> usize {
        match self {
            Kind::Cifar10 => 10,
            Kind::Cifar100 => 100,
        }
    }

    /// Files of a part, and that of the class names; there is no validation part, and no file.
    pub(super) fn files(self, part: Part) -> (&'static [&'static str], &'static str) {
        match (self, part) {
            (Kind::Cifar10, Part::Train) => (
                &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                "batches.meta.txt",
            ),
            (Kind::Cifar10, Part::Test) => (&["test_batch.bin"], "batches.meta.txt"),
            (Kind::Cifar10, Part::Validation) => (&[], "batches.meta.txt"),
            (Kind::Cifar100, Part::Train) => (&["train.bin"], "fine_label_names.txt"),
            (Kind::Cifar100, Part::Test) => (&["test.bin"], "fine_label_names.txt"),
            (Kind::Cifar100, Part::Validation) => (&[], "fine_label_names.txt"),
        }
    }

    /// The data set that a file of this name belongs to.
    pub(super) fn of_file(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| {
            let known = |part| kind.files(part).0.contains(&name);
            known(Part::Train) || known(Part::Test)
        })
    }
}

impl Cifar {
    /// Reads the labels. `names` is the text of the file of class names, if there is one.
    pub(super) fn open(
        kind: Kind,
        batches: Vec<Batch>,
        names: Option<&str>,
    ) -> Result<(Listing, Cifar), DataError> {
        let mut entries = Entries::default();
        let (mut labels, mut places) = (Vec::new(), Vec::new());
        let mut content = Fnv::new();
        for (number, batch) in batches.iter().enumerate() {
            content.feed(&batch.length.to_le_bytes());
            let stem = shown_os(batch.path.file_stem().unwrap_or_default());
            for (i, label) in read_labels(kind, batch)?.into_iter().enumerate() {
                entries.push(&format!("{stem}/{i:05}"), PIXELS as u64);
                labels.push(u32::from(label));
                let offset = batch.start + (i * kind.record() + kind.label_bytes()) as u64;
                places.push((number as u32, offset));
            }
        }
        let labels = Labels::Given(labels, class_names(kind, names));
        let holdings = Holdings::of(format!("records of {}", kind.name()));
        let listing =
            Listing { entries, labels, holdings, content: content.0, ..Listing::default() };
        Ok((listing, Cifar { batches, places }))
    }
}

impl Store for Cifar {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        let (batch, offset) = self.places[i];
        let planes = self.batches[batch as usize].blob.read(offset, PIXELS)?;
        Ok(Raw::Image(Cow::Owned(interleave(&planes))))
    }
}

/// The label of each record, which must exist.
fn read_labels(kind: Kind, batch: &Batch) -> Result<Vec<u8>, DataError> {
    let damaged = |reason| DataError::Damaged { path: batch.path.clone(), reason };
    let record = kind.record() as u64;
    if batch.length == 0 || !batch.length.is_multiple_of(record) {
        let bytes = batch.length;
        return Err(damaged(format!(
            "its {bytes} bytes are not a number of {record}-byte records"
        )));
    }
    let mut labels = Vec::new();
    // A few megabytes at a time, however long the file.
    let step = 1024 * record;
    for start in (0..batch.length).step_by(step as usize) {
        let length = step.min(batch.length - start) as usize;
        let bytes = batch.blob.read(batch.start + start, length);
        let bytes =
            bytes.map_err(|source| DataError::Unreadable { path: batch.path.clone(), source })?;
        for record in bytes.chunks_exact(kind.record()) {
            let label = record[kind.label_bytes() - 1];
            if usize::from(label) >= kind.classes() {
                let i = labels.len();
                return Err(damaged(format!("the label {label} of its record {i} does not exist")));
            }
            labels.push(label);
        }
    }
    Ok(labels)
}

/// Names from the file beside the records; numbers if it is missing or of another length.
fn class_names(kind: Kind, text: Option<&str>) -> Vec<String> {
    let lines = text.unwrap_or_default().lines().map(str::trim);
    let names: Vec<String> = lines.filter(|line| !line.is_empty()).map(String::from).collect();
    if names.len() == kind.classes() {
        return names;
    }
    (0..kind.classes()).map(|class| class.to_string()).collect()
}

/// Planes of red, green and blue to pixels.
fn interleave(planes: &[u8]) -> Image {
    let plane = SIDE * SIDE;
    let pixel = |i: usize| [planes[i], planes[plane + i], planes[2 * plane + i]];
    Image::new(SIDE, SIDE, (0..plane).flat_map(pixel).collect())
}

/// The records of a whole file.
pub(super) fn whole_file(path: &Path, blob: Arc<Blob>) -> Batch {
    Batch { path: path.into(), start: 0, length: blob.len(), blob }
}
