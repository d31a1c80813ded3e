//! The members of a tar, one after another: what its headers say, without the bytes of its files.
//!
//! The crate `tar` reads the fields of headers. The steps from one to the next are ours: a walk goes
//! on behind an end mark, knows where the pieces of a file with holes lie, and can say where an
//! archive breaks.

use super::header::{Kind, is_sound, packing};
use super::pax::Records;
use super::sparse::{self, MAX_PIECES, Map, Piece, Told};
use crate::source::blob::{Blob, Stride, Window};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use tar::{EntryType, GnuExtSparseHeader, Header};

/// A tar is made of blocks of this size.
const BLOCK: u64 = 512;

/// Largest name, extended header, label or map of holes that is read.
pub(super) const MAX_TEXT: u64 = 1 << 20;

/// A member as its headers describe it.
pub(super) struct Entry {
    pub kind: Kind,
    pub name: Vec<u8>,
    /// What a link leads to.
    pub target: Vec<u8>,
    pub place: Place,
}

/// Where the bytes of a file lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Those parts of it that are stored, if not all are.
    pub pieces: Option<Box<[Piece]>>,
}

/// Why an archive cannot be walked to its end.
pub(in crate::source) enum Fault {
    Read(io::Error),
    /// Where its structure breaks.
    Damaged(String),
}

/// What comes at the end of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Ending {
    #[default]
    Mark,
    /// The archive ends with its last member.
    NoMark,
    /// So many bytes behind the end mark are of no tar.
    Strange(u64),
}

/// Headers that precede a member's own.
#[derive(Default)]
struct Extra {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: Records,
}

/// A walk through an archive.
pub(super) struct Walk {
    blob: Arc<Blob>,
    input: Window,
    position: u64,
    /// Whether the block before the position is a zero block.
    behind_mark: bool,
    strange: u64,
    /// Name of the last member.
    last: Vec<u8>,
}

impl Walk {
    pub(super) fn new(blob: &Arc<Blob>) -> Walk {
        Walk {
            input: blob.window(0, Stride::Headers),
            blob: Arc::clone(blob),
            position: 0,
            behind_mark: false,
            strange: 0,
            last: Vec::new(),
        }
    }

    /// The next member.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Fault> {
        let mut extra = Extra::default();
        while let Some(header) = self.header()? {
            match header.entry_type() {
                EntryType::GNULongName => extra.name = Some(self.long_name(&header)?),
                EntryType::GNULongLink => extra.target = Some(self.long_name(&header)?),
                // `X` is what Solaris wrote before there was a standard.
                EntryType::XHeader | EntryType::__Nonexhaustive(b'X') => {
                    let at = self.position - BLOCK;
                    if !extra.records.read(&self.text(&header)?) {
                        return Err(damaged(format!(
                            "the extended header at byte {at} is damaged"
                        )));
                    }
                }
                EntryType::XGlobalHeader => {
                    let bytes = self.stored_size(&header, None)?;
                    self.skip(bytes, b"a global header")?;
                }
                _ => return self.entry(&header, &extra).map(Some),
            }
        }
        if extra.name.is_none() && extra.target.is_none() && extra.records.is_empty() {
            return Ok(None);
        }
        Err(damaged("it ends behind an extended header, before its member".into()))
    }

    /// How the archive ends; known when there is no next member.
    pub(super) fn ending(&self) -> Ending {
        match (self.behind_mark, self.strange) {
            (_, bytes) if bytes > 0 => Ending::Strange(bytes),
            (true, _) => Ending::Mark,
            (false, _) => Ending::NoMark,
        }
    }

    /// Reads up to `length` of a file's first stored bytes.
    pub(super) fn head(&mut self, place: &Place, length: u64) -> io::Result<Vec<u8>> {
        let (offset, stored) = match place.pieces.as_deref() {
            None => (place.offset, place.bytes),
            Some([first, ..]) if first.at == 0 => (first.offset, first.length),
            Some(_) => (0, 0),
        };
        let mut bytes = vec![0; stored.min(length) as usize];
        self.input.seek(SeekFrom::Start(offset))?;
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next header behind any zero blocks. Those mark the end of an archive, behind which there
    /// may be another (`cat a.tar b.tar`).
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        loop {
            let left = self.blob.len().saturating_sub(self.position);
            let mut header = Header::new_old();
            let length = left.min(BLOCK) as usize;
            self.input.seek(SeekFrom::Start(self.position)).map_err(Fault::Read)?;
            let block = &mut header.as_mut_bytes()[..length];
            self.input.read_exact(block).map_err(Fault::Read)?;
            let block = &header.as_bytes()[..length];
            if block.is_empty() {
                return Ok(None);
            } else if block.iter().all(|&byte| byte == 0) {
                self.position += length as u64;
                self.behind_mark = true;
            } else if left >= BLOCK && is_sound(&header) {
                self.position += BLOCK;
                self.behind_mark = false;
                return Ok(Some(header));
            } else if self.behind_mark {
                self.strange = left;
                return Ok(None);
            } else {
                return Err(self.no_header(block));
            }
        }
    }

    /// What to say of a block that should be a header.
    fn no_header(&self, block: &[u8]) -> Fault {
        let behind = match self.last.as_slice() {
            [] => String::new(),
            name => format!(", behind `{}`,", String::from_utf8_lossy(name)),
        };
        let at = self.position;
        damaged(match packing(block).filter(|_| at == 0) {
            Some(packing) => format!("it is packed with {packing}"),
            None if (block.len() as u64) < BLOCK => {
                format!("it ends at byte {at}{behind} within a header")
            }
            None => format!("at byte {at}{behind} there is no header of a member"),
        })
    }

    /// The member of a header.
    fn entry(&mut self, header: &Header, extra: &Extra) -> Result<Entry, Fault> {
        let records = &extra.records;
        let name = records.get("GNU.sparse.name").or_else(|| records.get("path"));
        let name = name.or(extra.name.as_deref());
        let name = name.map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
        let target = records.get("linkpath").or(extra.target.as_deref());
        let target = target.map(<[u8]>::to_vec);
        let target = target.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        self.last.clone_from(&name);

        let mut kind = Kind::of(header, &name);
        let has_data = match kind {
            Kind::Folder | Kind::SymbolicLink | Kind::Special => false,
            // Some writers repeat the size, some the data too.
            Kind::HardLink => self.stored_size(header, Some(records))? > 0 && !self.at_header()?,
            _ => true,
        };
        let mut place = Place { offset: self.position, ..Place::default() };
        if has_data {
            if kind == Kind::HardLink {
                kind = Kind::File;
            }
            (kind, place) = self.place(header, records, kind, &name)?;
        }
        Ok(Entry { kind, name, target: target.unwrap_or_default(), place })
    }

    /// Notes where a member's bytes lie, and steps over them.
    fn place(
        &mut self,
        header: &Header,
        records: &Records,
        kind: Kind,
        name: &[u8],
    ) -> Result<(Kind, Place), Fault> {
        let stored = self.stored_size(header, Some(records))?;
        let map = match header.as_gnu().filter(|_| header.entry_type().is_gnu_sparse()) {
            Some(gnu) => {
                let more = if gnu.is_extended() { self.more_of_a_map()? } else { Vec::new() };
                Some(Told::Here(Map::of_header(gnu, &more)))
            }
            None => sparse::told(records),
        };
        let offset = self.position;
        self.skip(stored, name)?;
        let whole = Place { offset, bytes: stored, pieces: None };
        let (map, before) = match map {
            None => return Ok((kind, whole)),
            Some(Told::Here(map)) => (map, 0),
            Some(Told::BeforeTheData(size)) => self.map_before(&whole, size)?,
        };
        let pieces = map.as_ref().and_then(|map| map.pieces(offset + before, stored - before));
        Ok(match (map, pieces) {
            (Some(Map { size, .. }), Some(pieces)) => {
                (kind, Place { offset, bytes: size, pieces: Some(pieces.into()) })
            }
            _ => (Kind::BrokenMap, whole),
        })
    }

    /// The blocks that go on with the map of a header of GNU tar.
    fn more_of_a_map(&mut self) -> Result<Vec<GnuExtSparseHeader>, Fault> {
        let mut blocks: Vec<GnuExtSparseHeader> = Vec::new();
        while blocks.last().is_none_or(GnuExtSparseHeader::is_extended) {
            if blocks.len() * 21 > MAX_PIECES {
                return Err(damaged(format!(
                    "the map of holes at byte {} has no end",
                    self.position
                )));
            }
            let mut block = GnuExtSparseHeader::new();
            block.as_mut_bytes().copy_from_slice(&self.bytes(BLOCK, b"a map of holes")?);
            self.position += BLOCK;
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// The map at the beginning of a member's data, and how many bytes it takes.
    fn map_before(
        &mut self,
        whole: &Place,
        size: Option<u64>,
    ) -> Result<(Option<Map>, u64), Fault> {
        let text = self.head(whole, MAX_TEXT).map_err(Fault::Read)?;
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let count = text.split(|&byte| byte == b'\n').next().and_then(sparse::number);
        let lines = lines.take(count.map_or(0, |count| 2 * count.min(MAX_TEXT) as usize + 1));
        let taken: usize = lines.map(<[u8]>::len).sum();
        let before = (taken as u64).next_multiple_of(BLOCK).min(whole.bytes);
        Ok((size.and_then(|size| Map::of_text(&text[..taken], size)), before))
    }

    /// The text of a header that describes the next one.
    fn text(&mut self, header: &Header) -> Result<Vec<u8>, Fault> {
        let bytes = self.stored_size(header, None)?;
        if bytes > MAX_TEXT {
            let at = self.position;
            return Err(damaged(format!("the extended header at byte {at} claims {bytes} bytes")));
        }
        let text = self.bytes(bytes, b"an extended header")?;
        self.skip(bytes, b"an extended header")?;
        Ok(text)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, Fault> {
        let mut name = self.text(header)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// The `count` bytes at the position, which are of the thing called so.
    fn bytes(&mut self, count: u64, thing: &[u8]) -> Result<Vec<u8>, Fault> {
        self.check(count, thing)?;
        let mut bytes = vec![0; count as usize];
        self.input.seek(SeekFrom::Start(self.position)).map_err(Fault::Read)?;
        self.input.read_exact(&mut bytes).map_err(Fault::Read)?;
        Ok(bytes)
    }

    /// Steps over the data of the thing called so, and what fills its last block.
    fn skip(&mut self, bytes: u64, thing: &[u8]) -> Result<(), Fault> {
        self.check(bytes, thing)?;
        self.position = (self.position + bytes).next_multiple_of(BLOCK).min(self.blob.len());
        Ok(())
    }

    fn check(&self, bytes: u64, thing: &[u8]) -> Result<(), Fault> {
        let left = self.blob.len().saturating_sub(self.position);
        if bytes <= left {
            return Ok(());
        }
        let thing = String::from_utf8_lossy(thing);
        Err(damaged(format!("it ends within `{thing}`, of whose {bytes} bytes {left} are there")))
    }

    /// Bytes that a member takes in the archive.
    fn stored_size(&self, header: &Header, records: Option<&Records>) -> Result<u64, Fault> {
        let size = match records.and_then(|records| records.get("size")) {
            Some(text) => sparse::number(text),
            None => header.entry_size().ok(),
        };
        let at = self.position - BLOCK;
        size.ok_or_else(|| damaged(format!("the size in the header at byte {at} is no number")))
    }

    /// Whether a header, an end mark or nothing is at the position.
    fn at_header(&mut self) -> Result<bool, Fault> {
        let left = self.blob.len().saturating_sub(self.position);
        if left < BLOCK {
            return Ok(true);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&self.bytes(BLOCK, b"")?);
        Ok(is_sound(&header) || header.as_bytes().iter().all(|&byte| byte == 0))
    }
}

fn damaged(reason: String) -> Fault {
    Fault::Damaged(reason)
}
