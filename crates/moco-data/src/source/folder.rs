//! A folder tree of images.
//!
//! Within each folder, files and folders come in the order of their names, which makes the whole
//! list sorted as [`listing::order`] has it without ever sorting all of it.

use super::file_kind::{told_by_bytes, told_by_name};
use super::listing::{self, FileKind, HEAD, Listing, shown};
use super::told::Source;
use super::{Raw, Skipped, Store};
use crate::error::{DataError, ImageError};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
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
    /// Names of the tars and Parquet files.
    pub archives: Vec<String>,
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
            Name::Odd(name) => shown(name.as_encoded_bytes()),
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
        walk.folder(root, At { prefix: "", odd: false }).map_err(unreadable)?;
        let odd = std::mem::take(&mut walk.odd);
        Ok((walk, Folder { root: root.into(), odd }))
    }

    /// A folder whose listing is known.
    pub(super) fn known(root: &Path) -> Folder {
        Folder { root: root.into(), odd: HashMap::new() }
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

    fn file(&self, i: usize, name: &str) -> Option<PathBuf> {
        Some(self.odd.get(&i).cloned().unwrap_or_else(|| self.root.join(name)))
    }

    fn reads_by_name(&self) -> bool {
        true
    }

    fn told(&self) -> Option<Source> {
        self.has_plain_names().then(|| Source::Folder(self.root.clone()))
    }

    fn head(&self, i: usize, name: &str, bytes: usize) -> Result<Raw<'_>, ImageError> {
        let file = match self.odd.get(&i) {
            Some(path) => File::open(path),
            None => File::open(self.root.join(name)),
        };
        let mut head = Vec::new();
        file?.take(bytes as u64).read_to_end(&mut head)?;
        Ok(Raw::File(head.into()))
    }
}

/// A folder on the way.
#[derive(Clone, Copy)]
struct At<'a> {
    /// Its name with a `/` behind it.
    prefix: &'a str,
    /// Whether it, or one above it, has a name that is not UTF-8.
    odd: bool,
}

impl Walk {
    /// Lists a folder and all below it.
    fn folder(&mut self, path: &Path, at: At) -> io::Result<()> {
        let changed = fs::metadata(path)?.modified()?;
        let Children { text, children, hidden } = Children::read(path)?;
        self.folders.push((at.prefix.to_string(), changed));
        self.pass_over("hidden files", hidden.files);
        self.pass_over("hidden folders", hidden.folders);
        for Child { name, kind } in children {
            let at = At { odd: at.odd || matches!(name, Name::Odd(_)), ..at };
            self.child(&path.join(name.as_os(&text)), at, &name.shown(&text), kind);
        }
        Ok(())
    }

    /// `at.odd` is of the child.
    fn child(&mut self, path: &Path, at: At, name: &str, kind: Kind) {
        match kind {
            Kind::Folder => {
                let own = path.file_name().unwrap_or_default();
                let real = self.chain.last().map(|above| above.join(own)).unwrap_or_default();
                self.enter(path, at, name, real);
            }
            Kind::Special if listing::is_image(name) => {
                self.skip(at, name, "neither a file nor a folder".into());
            }
            Kind::Special => self.pass_over("pipes and devices", 1),
            Kind::File => self.file(path, at, name, None),
            Kind::Link => match fs::metadata(path) {
                Ok(target) if target.is_dir() => match path.canonicalize() {
                    Ok(real) if self.chain.contains(&real) => {
                        self.skip(at, name, "a link back to a folder above it".into());
                    }
                    Ok(real) => self.enter(path, at, name, real),
                    Err(error) => self.skip(at, name, error.to_string()),
                },
                Ok(target) if target.is_file() => self.file(path, at, name, Some(target.len())),
                Ok(_) => self.child(path, at, name, Kind::Special),
                Err(_) if listing::is_image(name) => self.image(path, at, name, 0),
                Err(_) => self.pass_over("dangling links", 1),
            },
        }
    }

    /// A file that exists; its size, if that is known already.
    fn file(&mut self, path: &Path, at: At, name: &str, size: Option<u64>) {
        let by_name = told_by_name(name);
        let kind = match by_name.map_or_else(|| Ok(told_by_bytes(&head(path)?)), Ok) {
            Ok(FileKind::Image) => {
                let asked = || fs::metadata(path).map_or(0, |metadata| metadata.len());
                return self.image(path, at, name, size.unwrap_or_else(asked));
            }
            Ok(FileKind::Unread(kind) | FileKind::Other(kind)) => kind,
            Err::<_, io::Error>(_) => "unreadable files",
        };
        if by_name.is_some() && matches!(kind, "tars" | "Parquet files") {
            self.archives.push(format!("{}{name}", at.prefix));
        }
        self.pass_over(kind, 1);
    }

    fn image(&mut self, path: &Path, at: At, name: &str, bytes: u64) {
        if at.odd {
            self.odd.insert(self.listing.entries.len(), path.into());
        }
        self.listing.entries.push_parts(&[at.prefix, name], bytes);
    }

    fn enter(&mut self, path: &Path, at: At, name: &str, real: PathBuf) {
        let before = self.listing.entries.len();
        self.chain.push(real);
        let read = self.folder(path, At { prefix: &format!("{}{name}/", at.prefix), odd: at.odd });
        self.chain.pop();
        match read {
            Err(error) => {
                let reason = format!("the folder cannot be read ({error}); check its permissions");
                self.skip(at, name, reason);
            }
            Ok(()) if self.listing.entries.len() == before && listing::is_image(name) => {
                self.skip(at, name, "named like an image, but a folder".into());
            }
            Ok(()) => {}
        }
    }

    fn skip(&mut self, at: At, name: &str, reason: String) {
        self.listing.skipped.push(Skipped { name: format!("{}{name}", at.prefix), reason });
    }

    fn pass_over(&mut self, kind: &str, count: usize) {
        self.listing.holdings.pass_over(kind, count);
    }
}

/// The first bytes of a file.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A folder's visible entries, in the order of their names. The names lie in one text, so that a
/// single folder may hold millions.
#[derive(Default)]
struct Children {
    text: String,
    children: Vec<Child>,
    hidden: Hidden,
}

/// How many entries of a folder are hidden.
#[derive(Default)]
struct Hidden {
    files: usize,
    folders: usize,
}

impl Children {
    fn read(path: &Path) -> io::Result<Children> {
        let Children { mut text, mut children, mut hidden } = Children::default();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type().map_or(Kind::Special, kind_of);
            if name.as_encoded_bytes().starts_with(b".") {
                *(if kind == Kind::Folder { &mut hidden.folders } else { &mut hidden.files }) += 1;
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
            children.push(Child { name, kind });
        }
        children.sort_unstable_by(|a, b| {
            let names = a.name.shown(&text).cmp(&b.name.shown(&text));
            names.then_with(|| a.name.as_os(&text).cmp(b.name.as_os(&text)))
        });
        Ok(Children { text, children, hidden })
    }
}

fn kind_of(kind: FileType) -> Kind {
    match kind {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Special,
    }
}
