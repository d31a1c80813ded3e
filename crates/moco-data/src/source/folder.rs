//! A folder tree of images.

use super::listing::{self, Entry, Listing};
use crate::error::DataError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// The files behind a listing, in its order.
pub(super) struct Folder {
    paths: Vec<PathBuf>,
}

impl Folder {
    /// Walks the tree, following links. A link that leads nowhere is listed if it is named like
    /// an image, to be reported when it is loaded; a link back to a folder above it is not
    /// followed.
    pub(super) fn scan(root: &Path) -> Result<(Listing, Folder), DataError> {
        let mut found: Vec<(Entry, PathBuf)> = Vec::new();
        let mut others = 0;
        let visible = |entry: &DirEntry| {
            entry.depth() == 0 || !listing::is_hidden(&entry.file_name().to_string_lossy())
        };
        for item in WalkDir::new(root).follow_links(true).into_iter().filter_entry(visible) {
            let Some((path, bytes)) = file_of(item, root)? else { continue };
            let name = relative_name(&path, root);
            if listing::is_image(&name) {
                found.push((Entry { name, bytes }, path));
            } else {
                others += 1;
            }
        }
        found.sort_by(|(a, a_path), (b, b_path)| {
            listing::order(&a.name, &b.name).then_with(|| a_path.cmp(b_path))
        });
        let (entries, paths) = found.into_iter().unzip();
        Ok((Listing { entries, others }, Folder { paths }))
    }

    /// The bytes of file `i`.
    pub(super) fn read(&self, i: usize) -> io::Result<Vec<u8>> {
        fs::read(&self.paths[i])
    }
}

/// Path and size of a file that the walk came upon; nothing for a folder, a loop of links, or a
/// pipe or device, from which a read might never return.
fn file_of(
    item: walkdir::Result<DirEntry>,
    root: &Path,
) -> Result<Option<(PathBuf, u64)>, DataError> {
    let error = match item {
        Ok(entry) if entry.file_type().is_dir() => return Ok(None),
        Ok(entry) => match entry.metadata() {
            Ok(metadata) => {
                let size = metadata.is_file().then_some(metadata.len());
                return Ok(size.map(|bytes| (entry.into_path(), bytes)));
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    if error.loop_ancestor().is_some() {
        return Ok(None);
    }
    let path = error.path().unwrap_or(root).to_path_buf();
    let dangling = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
    if dangling {
        return Ok(Some((path, 0)));
    }
    Err(DataError::Unreadable { path, source: error.into() })
}

/// Path below the root with `/` between its parts. Bytes that are not UTF-8 are replaced.
fn relative_name(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
