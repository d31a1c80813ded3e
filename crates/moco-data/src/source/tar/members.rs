//! What an archive holds: its files by name, with what their headers and first bytes tell of them.

use super::header::Kind;
use super::label::Label;
use super::links::{self, Item, Target};
use super::sparse::Piece;
use super::walk::{Ending, Entry, Fault, MAX_TEXT, Place, Walk};
use crate::source::blob::Blob;
use crate::source::file_kind::{FileKind, told_by_bytes, told_by_name};
use crate::source::listing::{self, HEAD};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A file of an archive.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::source) struct Member {
    pub name: String,
    pub offset: u64,
    pub bytes: u64,
    /// Those parts of it that are stored, if not all are.
    pub(super) pieces: Option<Box<[Piece]>>,
    /// What it is, in the plural, if it is no image that can be read.
    pub(super) other: Option<Cow<'static, str>>,
    /// What it says, if it is a label file.
    pub(super) label: Option<Label>,
}

/// The visible files of an archive, and what there is to say of the rest.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Contents {
    pub members: Vec<Member>,
    /// Names of what was left out, and why.
    pub skipped: Vec<(String, Cow<'static, str>)>,
    /// What was passed over, counted by kind.
    pub passed_over: BTreeMap<Cow<'static, str>, usize>,
    /// Number of names that begin with `/`.
    pub absolute: usize,
    pub ending: Ending,
}

impl Member {
    /// This file under another name.
    pub(super) fn called(&self, name: String) -> Member {
        let other = match told_by_name(&name) {
            Some(kind) => kind_text(kind),
            None => self.other.clone(),
        };
        Member { name, other, ..self.clone() }
    }

    pub(super) fn is_image(&self) -> bool {
        self.other.is_none()
    }

    /// Whether it is a label file that makes sense.
    pub(super) fn has_label(&self) -> bool {
        matches!(self.label, Some(Label::Class(_) | Label::None))
    }
}

/// A kind that is no image that can be read.
fn kind_text(kind: FileKind) -> Option<Cow<'static, str>> {
    match kind {
        FileKind::Image => None,
        FileKind::Unread(text) | FileKind::Other(text) => Some(text.into()),
    }
}

/// Goes through an archive's headers, and reads its label files and the first bytes of those whose
/// name does not tell what they are.
pub(super) fn contents(blob: &Arc<Blob>) -> Result<Contents, Fault> {
    let mut scan =
        Scan { blob, walk: Walk::new(blob), items: Vec::new(), out: Contents::default() };
    while let Some(entry) = scan.walk.next()? {
        scan.take(entry)?;
    }
    match scan.cut_short() {
        Some(reason) => Err(Fault::Damaged(reason)),
        None => Ok(scan.finish()),
    }
}

struct Scan<'a> {
    blob: &'a Blob,
    walk: Walk,
    items: Vec<Item>,
    out: Contents,
}

impl Scan<'_> {
    /// Why an archive that ends before its first file is a beginning only: an empty one has an end mark.
    fn cut_short(&self) -> Option<String> {
        let out = &self.out;
        let nothing = self.items.is_empty() && out.skipped.is_empty() && out.passed_over.is_empty();
        match (self.walk.ending(), self.blob.len()) {
            _ if !nothing => None,
            (Ending::NoMark, 0) => Some("it is empty".into()),
            (Ending::NoMark, end) => {
                Some(format!("it ends at byte {end}, before its first file and its end mark"))
            }
            _ => None,
        }
    }

    fn take(&mut self, entry: Entry) -> Result<(), Fault> {
        if entry.kind == Kind::Folder {
            return Ok(());
        }
        if entry.kind == Kind::Unknown {
            self.pass_over("members of unknown types");
            return Ok(());
        }
        let shown = listing::shown(&entry.name);
        let Some(name) = clean(&shown) else {
            self.leave_out(shown.into_owned(), "its name leads out of the archive");
            return Ok(());
        };
        if name.is_empty() {
            self.pass_over("files without a name");
            return Ok(());
        }
        let hidden = name.split('/').any(listing::is_hidden);
        self.out.absolute += usize::from(!hidden && shown.starts_with('/'));
        match entry.kind {
            Kind::File => {
                let member = self.file(name, entry.place, hidden)?;
                self.items.push(Item::File(member));
            }
            Kind::HardLink | Kind::SymbolicLink => {
                let target = target(&name, &entry);
                self.items.push(Item::Link { name, target });
            }
            Kind::BrokenMap => self.leave_out(name, "a file with holes whose map is damaged"),
            _ => self.leave_out(name, "a pipe or device"),
        }
        Ok(())
    }

    fn file(&mut self, name: String, place: Place, hidden: bool) -> Result<Member, Fault> {
        let told =
            told_by_name(&name).or_else(|| hidden.then_some(FileKind::Other("hidden files")));
        let kind = match told {
            Some(kind) => kind,
            None => told_by_bytes(&self.walk.head(&place, HEAD as u64).map_err(Fault::Read)?),
        };
        let label = if hidden { None } else { self.label(&name, &place)? };
        let Place { offset, bytes, pieces } = place;
        Ok(Member { name, offset, bytes, pieces, other: kind_text(kind), label })
    }

    /// What a label file says.
    fn label(&mut self, name: &str, place: &Place) -> Result<Option<Label>, Fault> {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let cls = extension.eq_ignore_ascii_case("cls");
        if !cls && !extension.eq_ignore_ascii_case("json") {
            return Ok(None);
        }
        if place.bytes > MAX_TEXT {
            return Ok(Some(Label::unusable("more than 1 MB in them")));
        }
        let text = match &place.pieces {
            None => self.walk.head(place, place.bytes),
            Some(pieces) => sparse_bytes(self.blob, place.bytes, pieces),
        };
        let text = text.map_err(Fault::Read)?;
        Ok(if cls { Some(Label::of_cls(&text)) } else { Label::of_json(&text) })
    }

    fn pass_over(&mut self, kind: &'static str) {
        self.out.pass_over(kind, 1);
    }

    /// Names what may have been an image, and counts the rest.
    fn leave_out(&mut self, name: String, reason: &'static str) {
        match told_by_name(&name) {
            Some(FileKind::Other(kind)) => self.pass_over(kind),
            _ => self.out.skipped.push((name, reason.into())),
        }
    }

    fn finish(mut self) -> Contents {
        self.out.ending = self.walk.ending();
        let (mut members, lost) = links::follow(std::mem::take(&mut self.items));
        for (name, reason) in lost {
            if name.split('/').any(listing::is_hidden) {
                self.pass_over("hidden files");
            } else {
                self.leave_out(name, reason);
            }
        }
        let all = members.len();
        members.retain(|member| !member.name.split('/').any(listing::is_hidden));
        let visible = members.len();
        keep_the_last(&mut members);
        self.out.pass_over("hidden files", all - visible);
        self.out
            .pass_over("files that a later one of the same name replaces", visible - members.len());
        self.out.members = members;
        self.out
    }
}

impl Contents {
    pub(super) fn pass_over(&mut self, kind: &'static str, count: usize) {
        if count > 0 {
            *self.passed_over.entry(kind.into()).or_default() += count;
        }
    }
}

/// Keeps the last of all members with one name, as unpacking does.
fn keep_the_last(members: &mut Vec<Member>) {
    if members.is_sorted_by(|a, b| a.name < b.name) {
        return;
    }
    let mut last = HashMap::with_capacity(members.len());
    for (i, member) in members.iter().enumerate() {
        last.insert(member.name.as_str(), i);
    }
    if last.len() == members.len() {
        return;
    }
    let keep: Vec<bool> =
        members.iter().enumerate().map(|(i, member)| last[member.name.as_str()] == i).collect();
    let mut keep = keep.into_iter();
    members.retain(|_| keep.next().unwrap_or(true));
}

/// A path without empty and `.` parts; `None` if it has a `..`.
fn clean(path: &str) -> Option<String> {
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let idle = |part: &str| matches!(part, "" | ".");
    if !path.split('/').any(idle) {
        return Some(path.into());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !idle(part)).collect();
    Some(parts.join("/"))
}

fn target(name: &str, entry: &Entry) -> Target {
    let target = listing::shown(&entry.target);
    if entry.kind == Kind::SymbolicLink {
        return links::symbolic_target(name, &target);
    }
    clean(&target).map_or(Target::Outside, |path| Target::Inside { path, hard: true })
}

/// All bytes of a file with holes.
pub(super) fn sparse_bytes(blob: &Blob, bytes: u64, pieces: &[Piece]) -> std::io::Result<Vec<u8>> {
    let mut out = vec![0; bytes as usize];
    for piece in pieces {
        let stored = blob.read(piece.offset, piece.length as usize)?;
        out[piece.at as usize..][..stored.len()].copy_from_slice(&stored);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        assert_eq!(clean("a/b.jpg").as_deref(), Some("a/b.jpg"));
        assert_eq!(clean("/./a//b.jpg").as_deref(), Some("a/b.jpg"));
        assert_eq!(clean("a/../b.jpg"), None);
        assert_eq!(clean("..").as_deref(), None);
        assert_eq!(clean("a..b/...c").as_deref(), Some("a..b/...c"));
    }
}
