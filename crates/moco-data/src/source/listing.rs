//! What a folder and a tar have in common: which names count as images, their order, and the
//! classes that follow from the names.

use std::cmp::Ordering;

/// Extensions of images, in lower case.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// [`EXTENSIONS`] as an error message lists them.
pub(crate) const EXTENSIONS_TEXT: &str = ".jpg, .jpeg, .png, .webp or .bmp";

/// An image of a data set.
pub(super) struct Entry {
    /// Path relative to the root, with `/` between its parts.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
}

/// The outcome of a scan.
pub(super) struct Listing {
    /// The images, sorted by [`order`].
    pub entries: Vec<Entry>,
    /// Number of other files.
    pub others: usize,
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

/// Labels and class names of sorted images: the class is the first folder, and there are none
/// unless every image has one.
pub(super) fn classes(entries: &[Entry]) -> (Option<Vec<u32>>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut labels = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some((class, _)) = entry.name.split_once('/') else { return (None, Vec::new()) };
        if names.last().is_none_or(|last| last != class) {
            names.push(class.to_string());
        }
        labels.push(names.len() as u32 - 1);
    }
    (Some(labels), names)
}

/// 64-bit FNV-1a over names and sizes; the standard library's hasher may change with a release.
pub(super) fn fingerprint(entries: &[Entry]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for entry in entries {
        feed(entry.name.as_bytes());
        feed(&[0]);
        feed(&entry.bytes.to_le_bytes());
    }
    hash
}
