//! What the archives on servers hold, kept on disk: finding it out takes a request per megabyte.

use super::Shard;
use super::members::{Contents, Member};
use crate::source::OpenOptions;
use crate::source::listing::Fnv;
use crate::source::whole_file::write_whole;
use std::fs;
use std::path::PathBuf;

/// Changes with what is kept of an archive, so that what older versions kept is not read.
const FORMAT: &[u8] = b"2";

fn file(shard: &Shard, options: &OpenOptions) -> Option<PathBuf> {
    let version = shard.version.as_ref()?;
    let mut hash = Fnv::new();
    hash.feed(FORMAT);
    hash.feed(shard.path.to_str()?.as_bytes());
    hash.feed(version.as_bytes());
    let folder = options.cache.as_ref()?.join("tar-index");
    Some(folder.join(format!("{:016x}.json", hash.0)))
}

/// The kept contents of a shard.
pub(super) fn load(shard: &Shard, options: &OpenOptions) -> Option<Contents> {
    let bytes = fs::read(file(shard, options)?).ok()?;
    let contents: Contents = serde_json::from_slice(&bytes).ok()?;
    let end = shard.blob.len();
    contents.members.iter().all(|member| lies_before(end, member)).then_some(contents)
}

/// Whether all that is stored of a file lies before the end of its archive.
fn lies_before(end: u64, member: &Member) -> bool {
    let before =
        |offset: u64, length: u64| offset.checked_add(length).is_some_and(|behind| behind <= end);
    match &member.pieces {
        None => before(member.offset, member.bytes),
        Some(pieces) => pieces.iter().all(|piece| {
            let inside = piece.at.checked_add(piece.length);
            before(piece.offset, piece.length)
                && inside.is_some_and(|inside| inside <= member.bytes)
        }),
    }
}

/// Keeps the contents of a shard, if it is a distant one. That this fails costs time alone.
pub(super) fn save(shard: &Shard, contents: &Contents, options: &OpenOptions) {
    let Some(file) = file(shard, options) else { return };
    let _ = write_whole(&file, |out| Ok(serde_json::to_writer(out, contents)?));
}
