//! Zips whose members lie in them as they are, which is how torch writes them.

use super::bytes::Bytes;
use crate::error::{Result, WeightsError};
use std::collections::BTreeMap;
use std::io::BufReader;
use zip::{CompressionMethod, ZipArchive};

/// Members of a zip, by name.
pub(super) struct Zip {
    entries: BTreeMap<String, Member>,
}

/// A member: where it lies in the file.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub start: u64,
    pub length: u64,
    /// Its checksum; torch may leave it out, which is 0.
    pub crc32: Option<u32>,
}

impl Zip {
    /// Reads the directory of a zip.
    ///
    /// # Errors
    /// [`WeightsError::Damaged`] for a zip that is cut off or whose members lie outside it,
    /// [`WeightsError::Resave`] for one with compressed members.
    pub fn open(bytes: &Bytes) -> Result<Zip> {
        let damaged = |error: zip::result::ZipError| bytes.damaged(format!("as a zip: {error}"));
        let mut archive = ZipArchive::new(BufReader::new(bytes.reader())).map_err(damaged)?;
        let mut entries = BTreeMap::new();
        for index in 0..archive.len() {
            let member = archive.by_index_raw(index).map_err(damaged)?;
            let name = String::from_utf8_lossy(member.name_raw()).into_owned();
            if member.is_dir() {
                continue;
            }
            if member.compression() != CompressionMethod::Stored || member.encrypted() {
                return Err(WeightsError::Resave {
                    path: bytes.path().to_owned(),
                    problem: "is a zip with compressed members, as torch writes none".into(),
                });
            }
            let start = member.data_start();
            let end = start.and_then(|start| start.checked_add(member.size()));
            let (Some(start), Some(_)) = (start, end.filter(|&end| end <= bytes.length())) else {
                return Err(bytes.damaged(format!("its member `{name}` reaches beyond it")));
            };
            let crc32 = Some(member.crc32()).filter(|&crc32| crc32 != 0);
            let found = Member { start, length: member.size(), crc32 };
            if entries.insert(name.clone(), found).is_some() {
                return Err(bytes.damaged(format!("it has two members `{name}`")));
            }
        }
        Ok(Zip { entries })
    }

    /// Names of the members.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A member.
    pub fn entry(&self, name: &str) -> Option<Member> {
        self.entries.get(name).copied()
    }
}
