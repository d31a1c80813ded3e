//! A text file that lists images, one path a line or row, with or without a label.
//!
//! ```text
//! # paths count from the folder of this file
//! photos/1.jpg
//! photos/my cat.png<TAB>cat
//! photos/2.jpg 17
//! ```
//!
//! - `.txt`, `.lst`, `.list`: the label follows a tab, or the space behind an image's name. Empty
//!   lines and lines that begin with `#` are passed over, and so is a head
//! - `.csv` and `.tsv`: by the standard; columns are found by their heads, or else by what is in them
//! - `.jsonl`: an object a line, as Hugging Face's `metadata.jsonl`
//!
//! A path that is not UTF-8 is named by its bytes, such as `%FF.jpg`.

mod csv_table;
mod json_lines;
mod lines;
mod records;

use super::listing::{Fnv, Labels, Listing};
use super::selection::Selection;
use super::table::{self, RowLabels};
use super::told::Source;
use super::{Raw, Store, listing, named_files};
use crate::error::{DataError, ImageError};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes by which the kind of a list is told.
const PEEKED: usize = 64 << 10;

/// Whether a file of this name is taken to be a list.
pub(super) fn is_list(path: &Path) -> bool {
    let known = ["txt", "lst", "list", "tsv", "csv", "jsonl"];
    known.iter().any(|known| has_extension(path, known))
}

fn has_extension(path: &Path, known: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(known))
}

/// Whether what is listed first is meant as an image. Any text is a list of lines; one whose first
/// is no image's name is none. Tables are judged when they are read.
pub(super) fn looks_right(list: &Path, first: &str) -> bool {
    is_table(list) || has_extension(list, "jsonl") || looks_like_path(list, first)
}

fn is_table(path: &Path) -> bool {
    has_extension(path, "csv") || has_extension(path, "tsv")
}

/// Reads a list. The files are neither opened nor asked for their size: one that is missing is
/// reported when it is loaded, unless all are.
pub(super) fn read(path: &Path, asked: &Selection) -> Result<(Listing, Files), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut input = Input { file: BufReader::with_capacity(PEEKED, file), hash: Fnv::new() };
    let start = input.file.fill_buf().map_err(unreadable)?.to_vec();
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Err(table::fault(path, "is a list in UTF-16", "save it as UTF-8"));
    }
    let rows = Rows::new(path);
    if has_extension(path, "jsonl") {
        return json_lines::read(path, input, rows, asked);
    }
    if is_table(path) || lines::are_a_table(path, &start, asked) {
        csv_table::read(path, input, &start, rows, asked)
    } else {
        lines::read(path, input, rows, asked)
    }
}

/// The bytes of a list, which are hashed as they are read.
struct Input {
    file: BufReader<File>,
    hash: Fnv,
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(out)?;
        self.hash.feed(&out[..count]);
        Ok(count)
    }
}

impl Input {
    /// Reads up to the end of the line; false if there is none.
    fn line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let count = self.file.read_until(b'\n', line)?;
        self.hash.feed(line);
        Ok(count > 0)
    }
}

/// The rows of a list that is being read.
struct Rows<'a> {
    path: &'a Path,
    listing: Listing,
    labels: RowLabels,
    files: Files,
    /// Rows without a path.
    empty: usize,
    /// Rows with several labels.
    several: usize,
}

/// The label of a row.
enum Label<'a> {
    Missing,
    One(&'a [u8]),
    /// Which are not read.
    Several,
}

impl<'a> Rows<'a> {
    fn new(path: &'a Path) -> Rows<'a> {
        let folder = path.parent().unwrap_or(Path::new("")).into();
        Rows {
            path,
            listing: Listing::default(),
            labels: RowLabels::default(),
            files: Files { folder, odd: HashMap::new() },
            empty: 0,
            several: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.listing.entries.is_empty()
    }

    /// Adds the row that begins in a line.
    fn push(&mut self, path: &[u8], label: &Label, line: u64) {
        if path.is_empty() {
            self.empty += 1;
            return;
        }
        match std::str::from_utf8(path) {
            Ok(name) => self.listing.entries.push(name, 0),
            Err(_) => {
                self.files.set_odd(self.listing.entries.len(), path);
                self.listing.entries.push(&listing::shown(path), 0);
            }
        }
        let place = || format!("that of line {line}");
        match label {
            Label::One(label) if !label.is_empty() => match std::str::from_utf8(label) {
                Ok(label) => self.labels.push(Some(label), place),
                Err(_) => self.labels.push(Some(&listing::shown(label)), place),
            },
            Label::Several => {
                self.several += 1;
                self.labels.push(None, place);
            }
            _ => self.labels.push(None, place),
        }
    }

    /// The listing, if one of its files exists.
    fn finish(
        mut self,
        content: u64,
        chosen: String,
        has_labels: bool,
    ) -> Result<(Listing, Files), DataError> {
        self.check_files()?;
        let holdings = &mut self.listing.holdings;
        holdings.chosen = chosen;
        holdings.pass_over("rows without a path", self.empty);
        self.listing.labels = match has_labels {
            true => self.labels.finish(holdings),
            false => Labels::Absent,
        };
        if self.several > 0 {
            let several = self.several;
            holdings.note(format!("{several} rows have several labels, which are not read"));
        }
        self.listing.content = content;
        Ok((self.listing, self.files))
    }

    fn check_files(&mut self) -> Result<(), DataError> {
        let entries = &self.listing.entries;
        let Some(found) =
            (0..entries.len()).find(|&i| self.files.path(i, entries.name(i)).is_file())
        else {
            if entries.is_empty() {
                return Ok(());
            }
            let (count, first) = (entries.len(), entries.name(0));
            let problem = match count {
                1 => format!("leads to no file: its only path, `{first}`, does not exist"),
                _ => format!(
                    "leads to no file: of its {count} paths, already the first, `{first}`, does not exist"
                ),
            };
            return Err(table::fault(
                self.path,
                problem,
                named_files::mend(&self.files.folder, first),
            ));
        };
        if found > 0 {
            let first = entries.name(0);
            let note = match found {
                1 => format!("the first file, `{first}`, does not exist"),
                _ => format!("the first {found} files, such as `{first}`, do not exist"),
            };
            self.listing.holdings.note(note);
        }
        Ok(())
    }
}

/// Whether a text may be the path of an image: by its extension, as an address, or as a file.
fn looks_like_path(list: &Path, text: &str) -> bool {
    let beside = || list.parent().is_some_and(|folder| folder.join(text).is_file());
    !text.is_empty() && (listing::is_image(text) || named_files::is_address(text) || beside())
}

/// The files that a list names.
pub(super) struct Files {
    folder: PathBuf,
    /// Paths that their names do not tell, because they are not UTF-8.
    odd: HashMap<usize, PathBuf>,
}

impl Files {
    /// Of a list whose paths all follow from their names.
    pub(super) fn known(folder: PathBuf) -> Files {
        Files { folder, odd: HashMap::new() }
    }

    #[cfg(unix)]
    fn set_odd(&mut self, i: usize, path: &[u8]) {
        use std::os::unix::ffi::OsStrExt;
        self.odd.insert(i, self.folder.join(std::ffi::OsStr::from_bytes(path)));
    }

    #[cfg(not(unix))]
    fn set_odd(&mut self, _: usize, _: &[u8]) {}

    fn path(&self, i: usize, name: &str) -> PathBuf {
        match self.odd.get(&i) {
            Some(path) => path.clone(),
            None => named_files::path_of(&self.folder, name),
        }
    }
}

impl Store for Files {
    fn told(&self) -> Option<Source> {
        self.odd.is_empty().then(|| Source::List(self.folder.clone()))
    }

    fn read(&self, i: usize, name: &str) -> Result<Raw<'_>, ImageError> {
        named_files::read(&self.path(i, name)).map(Raw::File)
    }

    fn file(&self, i: usize, name: &str) -> Option<PathBuf> {
        Some(self.path(i, name))
    }

    fn reads_by_name(&self) -> bool {
        true
    }
}
