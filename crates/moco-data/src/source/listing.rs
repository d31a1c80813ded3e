//! What all sources have in common: which names count as images, their order, and the classes that
//! follow from the names.

use super::entries::Entries;
use super::{Holdings, Skipped};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Extensions of images, in lower case.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// [`EXTENSIONS`] as an error message lists them.
pub(crate) const EXTENSIONS_TEXT: &str = ".jpg, .jpeg, .png, .webp, .bmp, .gif, .tif or .tiff";

/// The outcome of a scan.
#[derive(Default)]
pub(super) struct Listing {
    /// The images, in the order of the data set.
    pub entries: Entries,
    /// Their classes.
    pub labels: Labels,
    /// Number of other files.
    pub others: usize,
    /// What was found on the way and left out.
    pub skipped: Vec<Skipped>,
    /// What there is to say of it.
    pub holdings: Holdings,
    /// Stands for what names and sizes do not tell; 0 if they tell everything.
    pub content: u64,
}

/// Where the classes come from.
#[derive(Default)]
pub(super) enum Labels {
    /// Each image's first folder, if every image has one.
    #[default]
    Folders,
    /// There are none.
    Absent,
    /// One for each image, an index into the names.
    Given(Vec<u32>, Vec<String>),
}

/// Whether a name counts as an image.
pub(super) fn is_image(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Whether a file or folder is passed over, such as `.ipynb_checkpoints` or the `._*.jpg` that
/// macOS leaves in archives.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Order of images: folder by folder, so that the images of a class are neighbours.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Labels and class names. Folders must be sorted; then so are the classes.
pub(super) fn classes(entries: &Entries, labels: Labels) -> (Option<Vec<u32>>, Vec<String>) {
    match labels {
        Labels::Folders => folder_classes(entries),
        Labels::Absent => (None, Vec::new()),
        Labels::Given(labels, names) => (Some(labels), names),
    }
}

fn folder_classes(entries: &Entries) -> (Option<Vec<u32>>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut labels = Vec::with_capacity(entries.len());
    for (name, _) in entries.iter() {
        let Some((class, _)) = name.split_once('/') else { return (None, Vec::new()) };
        if names.last().is_none_or(|last| last != class) {
            names.push(class.to_string());
        }
        labels.push(names.len() as u32 - 1);
    }
    (Some(labels), names)
}

/// Numbers textual labels: by value if all are whole numbers, else by name. The name of a class is
/// its label. There are none unless every image has one.
#[derive(Default)]
pub(super) struct LabelCollector {
    /// Classes by the order in which they came.
    known: HashMap<String, u32>,
    labels: Vec<u32>,
    some_missing: bool,
}

impl LabelCollector {
    /// The label of the next image.
    pub(super) fn push(&mut self, label: Option<&str>) {
        let Some(label) = label else {
            self.some_missing = true;
            return;
        };
        let number = match self.known.get(label) {
            Some(&number) => number,
            None => {
                let number = self.known.len() as u32;
                self.known.insert(label.to_string(), number);
                number
            }
        };
        self.labels.push(number);
    }

    pub(super) fn finish(self) -> Labels {
        if self.some_missing || self.labels.is_empty() {
            return Labels::Absent;
        }
        let mut classes: Vec<(String, u32)> = self.known.into_iter().collect();
        let value = |name: &str| name.parse::<i64>();
        if classes.iter().all(|(name, _)| value(name).is_ok()) {
            classes.sort_by_key(|(name, came)| (value(name).ok(), *came));
        } else {
            classes.sort();
        }
        let mut number = vec![0; classes.len()];
        for (i, (_, came)) in classes.iter().enumerate() {
            number[*came as usize] = i as u32;
        }
        let labels = self.labels.iter().map(|&came| number[came as usize]).collect();
        Labels::Given(labels, classes.into_iter().map(|(name, _)| name).collect())
    }
}

/// 64-bit FNV-1a; the standard library's hasher may change with a release.
pub(super) struct Fnv(pub u64);

impl Fnv {
    pub(super) fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A hash of names and sizes, and of `content` if it is not 0.
pub(super) fn fingerprint(entries: &Entries, content: u64) -> u64 {
    let mut hash = Fnv::new();
    for (name, bytes) in entries.iter() {
        hash.feed(name.as_bytes());
        hash.feed(&[0]);
        hash.feed(&bytes.to_le_bytes());
    }
    if content != 0 {
        hash.feed(&content.to_le_bytes());
    }
    hash.0
}
