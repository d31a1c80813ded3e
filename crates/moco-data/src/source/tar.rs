//! Tar archives of images, one or many, read in place: one scan notes where each image lies, and
//! workers then read at those offsets side by side.
//!
//! One archive is a folder tree. Many are a data set in WebDataset's naming
//! (<https://github.com/webdataset/webdataset>): files `KEY.EXT` of one key are one sample, the key
//! being the path up to the first dot of the file's name. Its label is the number or text in
//! `KEY.cls`, or the field `label` or `cls` of `KEY.json`; one archive may have such labels too.

use super::blob::{Blob, Stride};
use super::listing::{self, LabelCollector, Labels, Listing};
use super::{OpenOptions, Raw, Store, tar_index};
use crate::error::{DataError, ImageError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tar::Archive;

/// Largest label file that is read.
const MAX_LABEL: u64 = 1 << 20;

/// An archive to read.
pub(super) struct Shard {
    /// Path or address.
    pub path: PathBuf,
    pub blob: Arc<Blob>,
    /// What the index of a distant archive is kept under: changes when the archive does.
    pub version: Option<String>,
}

/// Open archives and where their images lie, in the listing's order.
pub(super) struct Tar {
    shards: Vec<Arc<Blob>>,
    spans: Vec<Span>,
}

/// The bytes of one file within an archive.
struct Span {
    shard: u32,
    offset: u64,
    bytes: u64,
}

/// A regular file of an archive.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Member {
    pub name: String,
    pub offset: u64,
    pub bytes: u64,
    /// What it says, if it is a label file.
    pub label: Option<String>,
}

impl Tar {
    /// Notes name, offset and size of every image, without reading any. The images of a single
    /// archive are sorted as those of a folder; of many, they keep the order of the archives and
    /// within them, and each name begins with that of its archive.
    pub(super) fn scan(
        shards: Vec<Shard>,
        options: &OpenOptions,
    ) -> Result<(Listing, Tar), DataError> {
        let mut members = members_of_all(&shards, options)?;
        if let [single] = &mut members[..] {
            strip_top_folder(single);
        }
        let labels: Vec<_> = members.iter().map(|members| labels_by_key(members)).collect();
        let total: usize = members.iter().map(Vec::len).sum();
        for members in &mut members {
            members.retain(|member| listing::is_image(&member.name));
        }
        let prefix = match &mut members[..] {
            [single] => {
                sort_as_folder(single);
                |_: &Shard| String::new()
            }
            _ => |shard: &Shard| {
                let name = shard.path.file_name().unwrap_or_default();
                format!("{}/", name.to_string_lossy())
            },
        };

        let mut listing = Listing::default();
        let mut spans = Vec::new();
        let mut given = LabelCollector::default();
        for (i, (shard, members)) in shards.iter().zip(&members).enumerate() {
            let prefix = prefix(shard);
            for Member { name, offset, bytes, .. } in members {
                listing.entries.push_parts(&[&prefix, name], *bytes);
                spans.push(Span { shard: i as u32, offset: *offset, bytes: *bytes });
                given.push(labels[i].get(key(name)).map(String::as_str));
            }
        }
        listing.others = total - spans.len();
        if labels.iter().any(|labels| !labels.is_empty()) {
            listing.labels = given.finish();
        } else if shards.len() > 1 {
            listing.labels = Labels::Absent;
        }
        let shards = shards.into_iter().map(|shard| shard.blob).collect();
        Ok((listing, Tar { shards, spans }))
    }
}

impl Store for Tar {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        let span = &self.spans[i];
        let blob = &self.shards[span.shard as usize];
        Ok(Raw::File(blob.read(span.offset, span.bytes as usize)?))
    }
}

/// The members of each archive, several archives at a time.
fn members_of_all(shards: &[Shard], options: &OpenOptions) -> Result<Vec<Vec<Member>>, DataError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((i, shard)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            shards.get(i).map(|shard| (i, shard))
        } {
            let members = tar_index::load(shard, options).map_or_else(
                || {
                    let members = members(&shard.blob)?;
                    tar_index::save(shard, &members, options);
                    Ok(members)
                },
                Ok,
            );
            if let Ok(mut done) = done.lock() {
                done.push((i, members));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, shards.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(i, _)| *i);
    let whole = |(i, members): (usize, Result<_, String>)| {
        members.map_err(|reason| DataError::DamagedTar { path: shards[i].path.clone(), reason })
    };
    done.into_iter().map(whole).collect()
}

/// All visible regular files of an archive, or why it cannot be walked to its end.
pub(super) fn members(blob: &Arc<Blob>) -> Result<Vec<Member>, String> {
    let mut archive = Archive::new(blob.window(0, Stride::Headers));
    let mut members = Vec::new();
    for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = clean_name(&String::from_utf8_lossy(&entry.path_bytes()));
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(bytes).is_none_or(|end| end > blob.len()) {
            return Err(format!("it ends within `{name}`"));
        }
        if name.split('/').any(listing::is_hidden) {
            continue;
        }
        let label = match name.rsplit_once('.') {
            Some((_, "cls" | "json")) if bytes <= MAX_LABEL => {
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(|error| error.to_string())?;
                label(&name, &String::from_utf8_lossy(&text))
            }
            _ => None,
        };
        members.push(Member { name, offset, bytes, label });
    }
    Ok(members)
}

/// The label in the text of a `.cls` or `.json` file.
fn label(name: &str, text: &str) -> Option<String> {
    if name.ends_with(".cls") {
        return Some(text.trim().to_string());
    }
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    match object.get("label").or_else(|| object.get("cls"))? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn labels_by_key(members: &[Member]) -> HashMap<String, String> {
    let label = |member: &Member| Some((key(&member.name).to_string(), member.label.clone()?));
    members.iter().filter_map(label).collect()
}

/// What the files of one sample have in common.
fn key(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].find('.').map_or(name, |dot| &name[..file + dot])
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

/// Of two members with one name, unpacking keeps the later.
fn sort_as_folder(members: &mut Vec<Member>) {
    members.sort_by(|a, b| listing::order(&a.name, &b.name).then_with(|| b.offset.cmp(&a.offset)));
    members.dedup_by(|later, kept| later.name == kept.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        assert_eq!(key("a.b/c.left.jpg"), "a.b/c");
        assert_eq!(key("000.jpg"), "000");
        assert_eq!(key("a.b/c"), "a.b/c");
    }

    #[test]
    fn labels_are_numbers_or_texts() {
        assert_eq!(label("1.cls", " 12\n").as_deref(), Some("12"));
        assert_eq!(label("1.json", r#"{"label": 3, "cls": 4}"#).as_deref(), Some("3"));
        assert_eq!(label("1.json", r#"{"cls": "cat"}"#).as_deref(), Some("cat"));
        assert_eq!(label("1.json", r#"{"label": [1]}"#), None);
        assert_eq!(label("1.json", "{"), None);
    }
}
