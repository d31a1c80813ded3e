//! Files with holes: which of a member's bytes are in the archive, and where in the file they go.
//!
//! There are four ways to write that down, all of GNU tar: in the header and blocks behind it, and
//! in an extended header as of versions 0.0, 0.1 and 1.0 (the last with its map before the data).

use super::pax::Records;
use serde::{Deserialize, Serialize};
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

/// Pieces of a file at most. GNU tar writes one for each run of data.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// A run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Piece {
    /// Where it goes in the file.
    pub at: u64,
    /// Where it lies in the archive.
    pub offset: u64,
    pub length: u64,
}

/// Pairs of place in the file and length.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    runs: Vec<(u64, u64)>,
    /// Size of the file with its holes.
    pub size: u64,
}

/// How an extended header tells of holes.
pub(super) enum Told {
    /// In the header itself.
    Here(Option<Map>),
    /// In the first blocks of the data, for a file of this size.
    BeforeTheData(Option<u64>),
}

impl Map {
    /// The map in a header of GNU tar, and in the blocks that follow it.
    pub(super) fn of_header(header: &GnuHeader, more: &[GnuExtSparseHeader]) -> Option<Map> {
        let mut map = Map { runs: Vec::new(), size: header.real_size().ok()? };
        let all = header.sparse.iter().chain(more.iter().flat_map(|more| more.sparse()));
        for run in all.filter(|run| !is_unused(run)) {
            map.runs.push((run.offset().ok()?, run.length().ok()?));
        }
        Some(map)
    }

    /// The map before the data of version 1.0: lines of decimal numbers, the first of which is
    /// their count, padded to whole blocks.
    pub(super) fn of_text(text: &[u8], size: u64) -> Option<Map> {
        let mut numbers = text.split(|&byte| byte == b'\n').map(number);
        let count = usize::try_from(numbers.next()??).ok().filter(|&count| count <= MAX_PIECES)?;
        let mut map = Map { runs: Vec::new(), size };
        for _ in 0..count {
            map.runs.push((numbers.next()??, numbers.next()??));
        }
        Some(map)
    }

    /// Where the runs lie in an archive that holds `stored` bytes of them from `offset` on; `None`
    /// if the map contradicts itself.
    pub(super) fn pieces(&self, offset: u64, stored: u64) -> Option<Vec<Piece>> {
        let (mut end, mut used) = (0, 0u64);
        let mut pieces = Vec::new();
        for &(at, length) in &self.runs {
            let next = at.checked_add(length).filter(|&next| at >= end && next <= self.size)?;
            end = next;
            if length > 0 {
                pieces.push(Piece { at, offset: offset + used, length });
            }
            used = used.checked_add(length).filter(|&used| used <= stored)?;
        }
        Some(pieces)
    }
}

/// What an extended header says of holes, if it says anything.
pub(super) fn told(records: &Records) -> Option<Told> {
    let value = |key: &str| records.get(key).and_then(number);
    let size = value("GNU.sparse.realsize").or_else(|| value("GNU.sparse.size"));
    if let Some(major) = records.get("GNU.sparse.major") {
        return match (major, records.get("GNU.sparse.minor")) {
            (b"1", Some(b"0")) => Some(Told::BeforeTheData(size)),
            (b"0", _) => Some(Told::Here(in_header(records, size))),
            _ => Some(Told::Here(None)),
        };
    }
    let any = ["GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.numblocks"];
    any.iter().any(|key| records.get(key).is_some()).then(|| Told::Here(in_header(records, size)))
}

/// The map of version 0.1, numbers between commas, or of 0.0, a record for each number.
fn in_header(records: &Records, size: Option<u64>) -> Option<Map> {
    let numbers: Option<Vec<u64>> = match records.get("GNU.sparse.map") {
        Some(text) => text.split(|&byte| byte == b',').map(number).collect(),
        None => {
            let of_map = |key: &[u8]| matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
            records.iter().filter(|(key, _)| of_map(key)).map(|(_, value)| number(value)).collect()
        }
    };
    let numbers = numbers?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    Some(Map { runs: pairs.iter().map(|&[at, length]| (at, length)).collect(), size: size? })
}

fn is_unused(run: &GnuSparseHeader) -> bool {
    run.numbytes[0] == 0
}

/// A decimal number and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_contradict_themselves_are_none() {
        let map = |runs: &[(u64, u64)]| Map { runs: runs.to_vec(), size: 10 }.pieces(100, 6);
        let piece = |at, offset, length| Piece { at, offset, length };
        assert_eq!(map(&[(2, 3), (9, 1)]), Some(vec![piece(2, 100, 3), piece(9, 103, 1)]));
        assert_eq!(map(&[(0, 0), (10, 0)]), Some(vec![]));
        assert_eq!(map(&[(8, 3)]), None, "beyond the file");
        assert_eq!(map(&[(3, 2), (2, 1)]), None, "backwards");
        assert_eq!(map(&[(0, 7)]), None, "more than is stored");
        assert_eq!(map(&[(u64::MAX, 2)]), None);
    }

    #[test]
    fn a_map_as_text_is_as_long_as_it_says() {
        let map = Map::of_text(b"2\n0\n5\n8\n2\n\0\0\0", 10).unwrap();
        assert_eq!(map.runs, [(0, 5), (8, 2)]);
        for wrong in [&b"2\n0\n5\n8\n"[..], b"", b"x\n", b"-1\n", b"99999999999\n0\n0\n"] {
            assert_eq!(Map::of_text(wrong, 10), None, "{}", String::from_utf8_lossy(wrong));
        }
    }
}
