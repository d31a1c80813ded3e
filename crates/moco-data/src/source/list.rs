//! A text file that lists images, one path per line, with or without a label behind it.
//!
//! ```text
//! # paths count from the folder of this file
//! photos/1.jpg
//! photos/my cat.png<TAB>cat
//! photos/2.jpg 17
//! ```
//!
//! The label follows a tab; in a `.csv`, a comma; or, if it is a number, a space. Empty lines and
//! lines that begin with `#` are passed over, and so is the head of a table.

use super::folder::Folder;
use super::listing::{self, Fnv, LabelCollector, Listing};
use super::selection::Selection;
use crate::error::DataError;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Names of the column of paths, in the first line of a table.
const HEADS: [&str; 7] = ["path", "file", "filename", "file_name", "image", "image_path", "name"];

/// Whether a file of this name is taken to be a list.
pub(super) fn is_list(path: &Path) -> bool {
    let known = ["txt", "lst", "list", "tsv", "csv"];
    path.extension().is_some_and(|e| known.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Reads a list. The files are neither opened nor asked for their size: one that is missing is
/// reported when it is loaded.
pub(super) fn read(path: &Path, _: &Selection) -> Result<(Listing, Folder), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let commas = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let mut folder = Folder::known(path.parent().unwrap_or(Path::new("")));
    let (mut listing, mut labels) = (Listing::default(), LabelCollector::default());
    let mut content = Fnv::new();
    let mut line = Vec::new();
    for number in 0.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        content.feed(&line);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        let (name, label) = split(text, commas);
        let head = number == 0 && HEADS.iter().any(|head| name.eq_ignore_ascii_case(head));
        if name.is_empty() || name.starts_with('#') || head {
            continue;
        }
        if name.contains(char::REPLACEMENT_CHARACTER)
            && let Some(exact) = exact_path(&line)
        {
            folder.set_odd(listing.entries.len(), exact);
        }
        listing.entries.push(name, 0);
        labels.push(label);
    }
    listing.labels = labels.finish();
    listing.content = content.0;
    Ok((listing, folder))
}

/// Whether a line of a list names an image, by its extension or by being a file.
pub(super) fn looks_right(list: &Path, name: &str) -> bool {
    listing::is_image(name) || list.parent().is_some_and(|folder| folder.join(name).is_file())
}

/// Path and label of a line.
fn split(line: &str, commas: bool) -> (&str, Option<&str>) {
    let parts = line.split_once('\t').or_else(|| line.rsplit_once(',').filter(|_| commas));
    let parts = parts.or_else(|| {
        let (path, label) = line.rsplit_once(' ')?;
        let is_number = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && listing::is_image(path.trim_end())).then_some((path, label))
    });
    match parts {
        Some((path, label)) => (path.trim(), Some(label.trim()).filter(|label| !label.is_empty())),
        None => (line.trim(), None),
    }
}

/// The path of a line that is not UTF-8; its label can only follow a tab.
#[cfg(unix)]
fn exact_path(line: &[u8]) -> Option<PathBuf> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let path = line.split(|byte| b"\t\r\n".contains(byte)).next()?;
    Some(OsStr::from_bytes(path).into())
}

#[cfg(not(unix))]
fn exact_path(_: &[u8]) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn labels_follow_tabs_commas_and_spaces() {
        assert_eq!(split("a b.jpg", false), ("a b.jpg", None));
        assert_eq!(split("a b.jpg\tred cat", false), ("a b.jpg", Some("red cat")));
        assert_eq!(split("a 1.jpg 12", false), ("a 1.jpg", Some("12")));
        assert_eq!(split("IMG 12", false), ("IMG 12", None));
        assert_eq!(split("a,b.jpg,3", true), ("a,b.jpg", Some("3")));
        assert_eq!(split("a,b.jpg", false), ("a,b.jpg", None));
        assert_eq!(split("a.jpg\t", false), ("a.jpg", None));
    }
}
