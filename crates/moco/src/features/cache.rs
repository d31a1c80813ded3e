//! Features on disk, by the content of images, so that a second command on the same images encodes
//! nothing.
//!
//! A folder for each encoder and way of encoding holds parts; each is written whole under a
//! temporary name. A part that is damaged counts as absent. Parts that were not used for the longest
//! time are deleted when all together take more than [`LIMIT`]; the whole folder may be deleted at
//! any time.

use crate::checkpoint::write_with;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of all parts of all encoders.
pub const LIMIT: u64 = 4 << 30;
/// First bytes of a part; the number is the format's.
const MAGIC: &[u8; 16] = b"moco features 1\n";
/// Ending of a part's name.
const EXTENSION: &str = "features";

/// The features of one encoder.
pub struct Cache {
    /// Where all encoders' lie.
    root: PathBuf,
    folder: PathBuf,
    dim: usize,
}

impl Cache {
    /// Features of width `dim` under `root`, of what `key` stands for: an encoder and all that is
    /// done to an image before and after it.
    pub fn at(root: &Path, key: u128, dim: usize) -> Cache {
        let folder = root.join(format!("{key:032x}"));
        Cache { root: root.to_owned(), folder, dim }
    }

    /// The features that are known of images with these contents, by content.
    pub fn load(&self, wanted: impl Fn(u128) -> bool) -> HashMap<u128, Vec<f32>> {
        let mut known = HashMap::new();
        for path in parts(&self.folder) {
            let Some(part) = Part::read(&path, self.dim) else { continue };
            let before = known.len();
            for (content, row) in part.rows(self.dim).filter(|(content, _)| wanted(*content)) {
                known.insert(content, row);
            }
            if known.len() > before {
                // What was used last stays longest; that it cannot be noted costs a little time.
                let now = SystemTime::now();
                let _ = File::options().append(true).open(&path).and_then(|f| f.set_modified(now));
            }
        }
        known
    }

    /// Keeps features: `[contents, dim]`, a row for each content. Parts that nobody used for long
    /// make room.
    ///
    /// # Errors
    /// A folder or disk that cannot be written; nothing is lost but time.
    pub fn save(&self, contents: &[u128], values: &[f32]) -> io::Result<()> {
        if contents.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let name = contents.iter().fold(0u128, |name, content| name.rotate_left(1) ^ content);
        let path = self.folder.join(format!("{name:032x}.{EXTENSION}"));
        write_with(&path, |out| write(out, contents, values)).map_err(io::Error::other)?;
        self.make_room(LIMIT);
        Ok(())
    }

    fn make_room(&self, limit: u64) {
        let folders = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let all = folders.flat_map(|folder| parts(&folder.path()));
        let mut all: Vec<(SystemTime, u64, PathBuf)> = all
            .filter_map(|path| {
                let meta = fs::metadata(&path).ok()?;
                Some((meta.modified().ok()?, meta.len(), path))
            })
            .collect();
        all.sort();
        let mut total: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in all {
            if total <= limit {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
    }
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_part = |path: &PathBuf| path.extension().is_some_and(|found| found == EXTENSION);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_part).collect();
    paths.sort();
    paths
}

/// Width and count, contents, values, and a checksum of all before it; little-endian.
fn write(out: &mut dyn Write, contents: &[u128], values: &[f32]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(((values.len() / contents.len()) as u64).to_le_bytes());
    bytes.extend((contents.len() as u64).to_le_bytes());
    contents.iter().for_each(|content| bytes.extend(content.to_le_bytes()));
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    out.write_all(&bytes)
}

/// The bytes of a part that is whole.
struct Part {
    bytes: Vec<u8>,
    count: usize,
}

/// Bytes before the contents.
const HEAD: usize = 32;

impl Part {
    fn read(path: &Path, dim: usize) -> Option<Part> {
        let bytes = fs::read(path).ok()?;
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        let number = |at: usize| {
            let bytes = body.get(at..at + 8)?.try_into().ok()?;
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let (width, count) = (number(16)?, number(24)?);
        let size = count.checked_mul(16 + 4 * dim)?.checked_add(HEAD)?;
        let is_whole = body.starts_with(MAGIC) && width == dim && body.len() == size;
        let is_intact = is_whole && crc32c::crc32c(body) == u32::from_le_bytes(*sum);
        is_intact.then_some(Part { bytes, count })
    }

    fn rows(&self, dim: usize) -> impl Iterator<Item = (u128, Vec<f32>)> {
        let (contents, values) = self.bytes[HEAD..].split_at(16 * self.count);
        let contents = contents.as_chunks::<16>().0.iter().map(|bytes| u128::from_le_bytes(*bytes));
        let floats = |row: &[u8]| {
            row.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        contents.zip(values.chunks_exact(4 * dim).map(floats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn features_come_back_by_content_and_damage_is_absence() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path(), 7, 2);
        assert!(cache.load(|_| true).is_empty());
        cache.save(&[1, 2], &[0.5, 1.5, -1.0, 2.0]).unwrap();
        cache.save(&[3], &[9.0, 8.0]).unwrap();
        let known = cache.load(|content| content != 1);
        assert_eq!(known, HashMap::from([(2, vec![-1.0, 2.0]), (3, vec![9.0, 8.0])]));
        assert!(Cache::at(place.path(), 8, 2).load(|_| true).is_empty(), "of another encoder");
        assert!(Cache::at(place.path(), 7, 3).load(|_| true).is_empty(), "of another width");

        for path in parts(&cache.folder) {
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 9;
            bytes[last] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        assert!(cache.load(|_| true).is_empty());
        fs::write(&parts(&cache.folder)[0], b"moco").unwrap();
        assert!(cache.load(|_| true).is_empty());
    }

    #[test]
    fn what_was_not_used_for_long_makes_room() {
        let place = tempfile::tempdir().unwrap();
        let (old, new) = (Cache::at(place.path(), 1, 1), Cache::at(place.path(), 2, 1));
        old.save(&[1], &[1.0]).unwrap();
        old.save(&[2], &[2.0]).unwrap();
        new.save(&[3], &[3.0]).unwrap();
        let size = fs::metadata(&parts(&new.folder)[0]).unwrap().len();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for path in parts(&old.folder) {
            File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        assert_eq!(old.load(|content| content == 2).len(), 1, "used a moment ago");
        new.make_room(2 * size);
        assert_eq!(old.load(|_| true), HashMap::from([(2, vec![2.0])]));
        assert_eq!(new.load(|_| true).len(), 1);
    }
}
