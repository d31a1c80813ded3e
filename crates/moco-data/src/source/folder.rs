//! A folder tree of images.
//!
//! Within each folder, files and folders come in the order of their names, which makes the whole
//! list sorted as [`listing::order`] has it without ever sorting all of it.

use super::listing::{self, Listing};
use super::{Raw, Skipped, Store};
use crate::error::{DataError, ImageError};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files behind a listing.
pub(super) struct Folder {
    root: PathBuf,
    /// Paths that their names do not tell, because they are not UTF-8.
    odd: HashMap<usize, PathBuf>,
}

/// What a walk brings home.
#[derive(Default)]
pub(super) struct Walk {
    pub listing: Listing,
    /// Names of the folders that were read, and when each was last changed.
    pub folders: Vec<(String, SystemTime)>,
    odd: HashMap<usize, PathBuf>,
    /// Real paths of the folders from the root down to the current one.
    chain: Vec<PathBuf>,
}

/// An entry of a folder that is being read.
struct Child {
    name: Name,
    kind: Kind,
}

/// The name of a [`Child`].
enum Name {
    /// Where it lies in the text of all names.
    Plain { start: usize, end: usize },
    /// Not UTF-8.
    Odd(Box<OsStr>),
}

impl Name {
    fn shown<'a>(&'a self, text: &'a str) -> Cow<'a, str> {
        match self {
            Name::Plain { start, end } => Cow::Borrowed(&text[*start..*end]),
            Name::Odd(name) => name.to_string_lossy(),
        }
    }

    fn as_os<'a>(&'a self, text: &'a str) -> &'a OsStr {
        match self {
            Name::Plain { start, end } => OsStr::new(&text[*start..*end]),
            Name::Odd(name) => name,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
    /// A pipe, socket or device, from which a read might never return.
    Special,
}

impl Folder {
    /// Walks the tree, following links. A link that leads nowhere is listed if it is named like
    /// an image, to be reported when it is loaded; a link back to a folder above it is not
    /// followed. What cannot be read below the root is left out, with the reason.
    pub(super) fn scan(root: &Path) -> Result<(Walk, Folder), DataError> {
        let unreadable = |source| DataError::Unreadable { path: root.into(), source };
        let mut walk = Walk::default();
        walk.chain.push(root.canonicalize().map_err(unreadable)?);
        walk.folder(root, "").map_err(unreadable)?;
        let odd = std::mem::take(&mut walk.odd);
        Ok((walk, Folder { root: root.into(), odd }))
    }

    /// A folder whose listing is known.
    pub(super) fn known(root: &Path) -> Folder {
        Folder { root: root.into(), odd: HashMap::new() }
    }

    /// Notes the path of a file whose name does not tell it.
    pub(super) fn set_odd(&mut self, i: usize, path: PathBuf) {
        self.odd.insert(i, self.root.join(path));
    }

    /// Whether every path follows from its name.
    pub(super) fn has_plain_names(&self) -> bool {
        self.odd.is_empty()
    }
}

impl Store for Folder {
    fn read(&self, i: usize, name: &str) -> Result<Raw<'_>, ImageError> {
        let bytes = match self.odd.get(&i) {
            Some(path) => fs::read(path),
            None => fs::read(self.root.join(name)),
        };
        Ok(Raw::File(bytes?.into()))
    }
}

impl Walk {
    /// Lists a folder and all below it; `prefix` is its name with a `/` behind it.
    fn folder(&mut self, path: &Path, prefix: &str) -> io::Result<()> {
        let changed = fs::metadata(path)?.modified()?;
        let (text, children) = read_folder(path)?;
        self.folders.push((prefix.to_string(), changed));
        for Child { name, kind } in children {
            let odd = matches!(name, Name::Odd(_));
            self.child(&path.join(name.as_os(&text)), prefix, &name.shown(&text), odd, kind);
        }
        Ok(())
    }

    fn child(&mut self, path: &Path, prefix: &str, name: &str, odd: bool, kind: Kind) {
        match kind {
            Kind::Folder => {
                let own = path.file_name().unwrap_or_default();
                let real = self.chain.last().map(|above| above.join(own)).unwrap_or_default();
                self.enter(path, prefix, name, real);
            }
            Kind::Special if listing::is_image(name) => {
                self.skip(prefix, name, "neither a file nor a folder".into());
            }
            Kind::Special => {}
            Kind::File => {
                let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
                self.file(path, prefix, name, odd, size);
            }
            Kind::Link => match fs::metadata(path) {
                Ok(target) if target.is_dir() => match path.canonicalize() {
                    Ok(real) if self.chain.contains(&real) => {
                        self.skip(prefix, name, "a link back to a folder above it".into());
                    }
                    Ok(real) => self.enter(path, prefix, name, real),
                    Err(error) => self.skip(prefix, name, error.to_string()),
                },
                Ok(target) if target.is_file() => {
                    self.file(path, prefix, name, odd, target.len());
                }
                Ok(_) => self.child(path, prefix, name, odd, Kind::Special),
                // Dangling.
                Err(_) => self.file(path, prefix, name, odd, 0),
            },
        }
    }

    fn file(&mut self, path: &Path, prefix: &str, name: &str, odd: bool, bytes: u64) {
        if !listing::is_image(name) {
            self.listing.others += 1;
            return;
        }
        // A folder above that is not UTF-8 makes the whole path odd.
        if odd || prefix.contains(char::REPLACEMENT_CHARACTER) {
            self.odd.insert(self.listing.entries.len(), path.into());
        }
        self.listing.entries.push_parts(&[prefix, name], bytes);
    }

    fn enter(&mut self, path: &Path, prefix: &str, name: &str, real: PathBuf) {
        let before = self.listing.entries.len();
        self.chain.push(real);
        let read = self.folder(path, &format!("{prefix}{name}/"));
        self.chain.pop();
        match read {
            Err(error) => {
                let reason = format!("the folder cannot be read ({error}); check its permissions");
                self.skip(prefix, name, reason);
            }
            Ok(()) if self.listing.entries.len() == before && listing::is_image(name) => {
                self.skip(prefix, name, "named like an image, but a folder".into());
            }
            Ok(()) => {}
        }
    }

    fn skip(&mut self, prefix: &str, name: &str, reason: String) {
        self.listing.skipped.push(Skipped { name: format!("{prefix}{name}"), reason });
    }
}

/// Names and kinds of a folder's visible entries, in the order of the names. The names lie in one
/// text, so that a single folder may hold millions.
fn read_folder(path: &Path) -> io::Result<(String, Vec<Child>)> {
    let mut text = String::new();
    let mut children = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if listing::is_hidden(&name.to_string_lossy()) {
            continue;
        }
        let name = match name.into_string() {
            Ok(name) => {
                let start = text.len();
                text.push_str(&name);
                Name::Plain { start, end: text.len() }
            }
            Err(name) => Name::Odd(name.into()),
        };
        children.push(Child { name, kind: entry.file_type().map_or(Kind::Special, kind_of) });
    }
    children.sort_unstable_by(|a, b| {
        let shown = a.name.shown(&text).cmp(&b.name.shown(&text));
        shown.then_with(|| a.name.as_os(&text).cmp(b.name.as_os(&text)))
    });
    Ok((text, children))
}

fn kind_of(kind: FileType) -> Kind {
    match kind {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Special,
    }
}
