//! A tar archive of images, read in place: one scan notes where each image lies, and workers then
//! read at those offsets side by side.

use super::listing::{self, Entry, Listing};
use crate::error::DataError;
use std::fs::File;
use std::io;
use std::path::Path;
use tar::Archive;

/// An open archive and where its images lie, in the listing's order.
pub(super) struct Tar {
    file: File,
    spans: Vec<Span>,
}

/// The bytes of one file within the archive.
struct Span {
    offset: u64,
    bytes: usize,
}

/// A regular file of the archive, as stored.
struct Member {
    name: String,
    offset: u64,
    bytes: u64,
}

impl Tar {
    /// Notes name, offset and size of every image, without reading any.
    pub(super) fn scan(path: &Path) -> Result<(Listing, Tar), DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.into(), source };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut members = members(&file, length)
            .map_err(|reason| DataError::DamagedTar { path: path.into(), reason })?;
        strip_top_folder(&mut members);

        let total = members.len();
        members.retain(|member| listing::is_image(&member.name));
        let others = total - members.len();
        // Of two members with one name, unpacking keeps the later.
        members
            .sort_by(|a, b| listing::order(&a.name, &b.name).then_with(|| b.offset.cmp(&a.offset)));
        members.dedup_by(|later, kept| later.name == kept.name);

        let spans = members
            .iter()
            .map(|member| Span { offset: member.offset, bytes: member.bytes as usize })
            .collect();
        let entries = members
            .into_iter()
            .map(|member| Entry { name: member.name, bytes: member.bytes })
            .collect();
        Ok((Listing { entries, others }, Tar { file, spans }))
    }

    /// The bytes of file `i`.
    pub(super) fn read(&self, i: usize) -> io::Result<Vec<u8>> {
        let span = &self.spans[i];
        let mut bytes = vec![0; span.bytes];
        read_exact_at(&self.file, &mut bytes, span.offset)?;
        Ok(bytes)
    }
}

/// All visible regular files of the archive, or why it cannot be walked to its end.
fn members(file: &File, length: u64) -> Result<Vec<Member>, String> {
    let mut archive = Archive::new(file);
    let mut members = Vec::new();
    for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = clean_name(&String::from_utf8_lossy(&entry.path_bytes()));
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(bytes).is_none_or(|end| end > length) {
            return Err(format!("it ends within `{name}`"));
        }
        if !name.split('/').any(listing::is_hidden) {
            members.push(Member { name, offset, bytes });
        }
    }
    Ok(members)
}

/// A member's path without empty and `.` parts.
fn clean_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}

/// Makes a top folder that holds everything the root.
fn strip_top_folder(members: &mut [Member]) {
    let top = |member: &Member| member.name.split_once('/').map(|(top, _)| top.to_string());
    let Some(first) = members.first().and_then(top) else { return };
    if members.iter().all(|member| top(member).is_some_and(|top| top == first)) {
        for member in members {
            member.name.drain(..=first.len());
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
