//! What the archives on servers hold, kept on disk: finding it out takes a request per megabyte.

use super::OpenOptions;
use super::listing::Fnv;
use super::tar::{Member, Shard};
use std::fs;
use std::path::PathBuf;

fn file(shard: &Shard, options: &OpenOptions) -> Option<PathBuf> {
    let version = shard.version.as_ref()?;
    let mut hash = Fnv::new();
    hash.feed(shard.path.to_str()?.as_bytes());
    hash.feed(version.as_bytes());
    let folder = options.cache.as_ref()?.join("tar-index");
    Some(folder.join(format!("{:016x}.json", hash.0)))
}

/// The kept members of a shard.
pub(super) fn load(shard: &Shard, options: &OpenOptions) -> Option<Vec<Member>> {
    let bytes = fs::read(file(shard, options)?).ok()?;
    let members: Vec<Member> = serde_json::from_slice(&bytes).ok()?;
    let inside = |member: &Member| {
        let end = member.offset.checked_add(member.bytes);
        end.is_some_and(|end| end <= shard.blob.len())
    };
    members.iter().all(inside).then_some(members)
}

/// Keeps the members of a shard, if it is a distant one. That this fails costs time alone.
pub(super) fn save(shard: &Shard, members: &[Member], options: &OpenOptions) {
    let Some(file) = file(shard, options) else { return };
    let write = || -> std::io::Result<()> {
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        let partial = file.with_extension(format!("{}.part", std::process::id()));
        fs::write(&partial, serde_json::to_vec(members)?)?;
        fs::rename(&partial, &file)
    };
    let _ = write();
}
