//! What all sources have in common: which names count as images, their order, and the classes that
//! follow from the names.

use super::entries::Entries;
use super::part_folders::Level;
use super::parts;
use super::{Holdings, Skipped, file_kind};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

pub(super) use super::file_kind::{FileKind, HEAD, kind_of};
pub(super) use super::shown::{shown, shown_os};

/// What counts as an image, as an error message lists it.
pub(crate) const FORMATS_TEXT: &str = "JPEG, PNG, WebP, BMP, GIF, TIFF and PNM";

/// The outcome of a scan.
#[derive(Default)]
pub(super) struct Listing {
    /// The images, in the order of the data set.
    pub entries: Entries,
    /// Their classes.
    pub labels: Labels,
    /// Number of other files that `holdings` do not count by their kind.
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
    /// Each image's first folder below those that hold everything, if every image has one.
    #[default]
    Folders,
    /// There are none.
    Absent,
    /// One for each image, an index into the names, or [`NO_LABEL`].
    Given(Vec<u32>, Vec<String>),
}

/// Whether a name alone counts as an image's.
pub(super) fn is_image(name: &str) -> bool {
    file_kind::told_by_name(name) == Some(FileKind::Image)
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

/// Labels and class names; those of folders are sorted.
pub(super) fn classes(entries: &Entries, labels: Labels) -> (Option<Vec<u32>>, Vec<String>) {
    match labels {
        Labels::Folders => folder_classes(entries),
        Labels::Absent => (None, Vec::new()),
        Labels::Given(labels, names) => (Some(labels), names),
    }
}

fn folder_classes(entries: &Entries) -> (Option<Vec<u32>>, Vec<String>) {
    let root = Root::find(entries);
    let class = |name| root.below(name).split_once('/').map(|(class, _)| class);
    let (mut known, mut last) = (HashSet::new(), None);
    for (name, _) in entries.iter() {
        let Some(class) = class(name) else { return (None, Vec::new()) };
        if last != Some(class) {
            known.insert(class);
            last = Some(class);
        }
    }
    // A folder around all that is a part is no class.
    if known.is_empty() || (known.len() == 1 && last.and_then(parts::of_folder).is_some()) {
        return (None, Vec::new());
    }
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_unstable();
    let mut number = 0;
    let label = |(name, _)| {
        let class = class(name).unwrap_or_default();
        // Neighbours are mostly of one class.
        if names[number] != class {
            number = names.binary_search(&class).unwrap_or_default();
        }
        number as u32
    };
    let labels = entries.iter().map(label).collect();
    (Some(labels), names.into_iter().map(String::from).collect())
}

/// The folders whose folders are the classes: below the common top folders that hold everything,
/// and, if the folders there are the parts of a data set, below these and what is common to them.
#[derive(Default)]
struct Root {
    /// Bytes of the names that common top folders take.
    above: usize,
    /// Whether the folder behind them is a part.
    parts: bool,
    /// Bytes that common folders within the parts take.
    within: usize,
}

impl Root {
    fn find(entries: &Entries) -> Root {
        let mut root = Root::default();
        if let Some(level) = Level::find(entries, false).filter(|level| level.all) {
            root = Root { above: level.prefix.len(), parts: true, within: 0 };
        }
        // The last folder on the way to all images may still be their one class.
        while let Some((top, _)) =
            entries.iter().next().and_then(|(n, _)| root.below(n).split_once('/'))
            && entries.iter().all(|(name, _)| {
                let rest = root.below(name).strip_prefix(top).and_then(|n| n.strip_prefix('/'));
                rest.is_some_and(|rest| rest.contains('/'))
            })
        {
            root.within += top.len() + 1;
        }
        root
    }

    /// What follows in a name.
    fn below<'a>(&self, name: &'a str) -> &'a str {
        let mut rest = &name[self.above..];
        if self.parts {
            rest = rest.split_once('/').map_or("", |(_, rest)| rest);
        }
        rest.get(self.within..).unwrap_or_default()
    }
}

/// Stands for the class of an image that has none, where others have one.
pub(super) const NO_LABEL: u32 = u32::MAX;

/// Says how many images have no label, where others have one, unless a table has told of its rows.
pub(super) fn note_unlabelled(entries: &Entries, labels: &[u32], holdings: &mut Holdings) {
    if holdings.unlabelled_told {
        return;
    }
    let mut without = (0..labels.len()).filter(|&i| labels[i] == NO_LABEL);
    if let Some(first) = without.next() {
        let (count, all, example) = (1 + without.count(), labels.len(), entries.name(first));
        let have = if count == 1 { "has" } else { "have" };
        holdings.note(format!("{count} of {all} images {have} no label, such as `{example}`"));
    }
}

/// Numbers textual labels: by value if all are whole numbers, else by name. The name of a class is
/// its label.
#[derive(Default)]
pub(super) struct LabelCollector {
    /// Classes by the order in which they came.
    known: HashMap<String, u32>,
    labels: Vec<u32>,
}

impl LabelCollector {
    /// The label of the next image.
    pub(super) fn push(&mut self, label: Option<&str>) {
        let Some(label) = label else {
            self.labels.push(NO_LABEL);
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

    /// The labels of all images, [`NO_LABEL`] for those without; none if none has one.
    pub(super) fn finish(self) -> Labels {
        if self.known.is_empty() {
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
        let label = |&came: &u32| number.get(came as usize).copied().unwrap_or(NO_LABEL);
        let labels = self.labels.iter().map(label).collect();
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
