//! The first directory of a TIFF, as far as the library does not read it.
//!
//! The library refuses palettes; with another word for the colours' meaning it reads such an image
//! as grey, which are the indices.

use std::borrow::Cow;

const PHOTOMETRIC: u16 = 262;
const DNG_VERSION: u16 = 50706;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;

/// The entries of the first directory: their tags and where their values are.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little_endian: bool,
    entries: Vec<(u16, usize)>,
}

impl<'a> Directory<'a> {
    /// Reads the directory; nothing if it is not within the file.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Directory<'a>> {
        let little_endian = bytes.starts_with(b"II");
        let number = |at: usize, size: usize| number(bytes.get(at..)?.get(..size)?, little_endian);
        let is_big = number(2, 2)? == 43;
        let (start, count_size, entry_size, value_at) = match is_big {
            true => (number(8, 8)?, 8, 20, 12),
            false => (number(4, 4)?, 2, 12, 8),
        };
        let start = usize::try_from(start).ok()?;
        let count = number(start, count_size)?.min(u64::from(u16::MAX)) as usize;
        let entry = |i: usize| {
            let at = start + count_size + i * entry_size;
            let tag = number(at, 2)? as u16;
            bytes.get(at..at + entry_size).map(|_| (tag, at + value_at))
        };
        let entries = (0..count).map_while(entry).collect();
        Some(Directory { bytes, little_endian, entries })
    }

    /// Whether it is a camera's raw image, whose first directory holds but a small preview.
    pub(super) fn is_raw(&self) -> bool {
        let is_canon = self.bytes.get(8..10) == Some(b"CR");
        is_canon || self.find(DNG_VERSION).is_some()
    }

    /// Whether the samples are indices of a table of colours.
    pub(super) fn has_palette(&self) -> bool {
        let value = self.find(PHOTOMETRIC).and_then(|at| self.bytes.get(at..at + 2));
        value.and_then(|value| number(value, self.little_endian)) == Some(PALETTE.into())
    }

    /// The file, in which indices are said to be levels of grey.
    pub(super) fn with_palette_as_grey(&self) -> Cow<'a, [u8]> {
        match self.find(PHOTOMETRIC) {
            Some(at) if self.has_palette() => {
                let mut bytes = self.bytes.to_vec();
                let grey = match self.little_endian {
                    true => BLACK_IS_ZERO.to_le_bytes(),
                    false => BLACK_IS_ZERO.to_be_bytes(),
                };
                bytes[at..at + 2].copy_from_slice(&grey);
                Cow::Owned(bytes)
            }
            _ => Cow::Borrowed(self.bytes),
        }
    }

    fn find(&self, tag: u16) -> Option<usize> {
        self.entries.iter().find(|(found, _)| *found == tag).map(|(_, at)| *at)
    }
}

/// An unsigned number of up to 8 bytes.
fn number(bytes: &[u8], little_endian: bool) -> Option<u64> {
    let push = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
    match little_endian {
        true => Some(bytes.iter().rev().fold(0, push)),
        false => Some(bytes.iter().fold(0, push)),
    }
}
