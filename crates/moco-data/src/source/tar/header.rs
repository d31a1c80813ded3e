//! What a single header says beyond the fields that the crate `tar` reads.

use tar::{EntryType, Header};

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    SymbolicLink,
    Folder,
    /// A pipe or device.
    Special,
    /// A file with holes whose map makes no sense.
    BrokenMap,
    /// What only other programs know, such as a part of a file that begins on another tape.
    Unknown,
}

impl Kind {
    /// What the member of a header is, which has this name.
    pub(super) fn of(header: &Header, name: &[u8]) -> Kind {
        match header.entry_type() {
            // Folders have no type of their own in the oldest format.
            EntryType::Regular if name.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::SymbolicLink,
            EntryType::Directory => Kind::Folder,
            EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
            // The archive's own name.
            EntryType::__Nonexhaustive(b'V') => Kind::Folder,
            _ => Kind::Unknown,
        }
    }
}

/// Whether the sum of a header's bytes is what it says. Some old programs added signed ones.
pub(super) fn is_sound(header: &Header) -> bool {
    let Ok(stated) = header.cksum() else { return false };
    let bytes = header.as_bytes();
    let counted = || bytes[..148].iter().chain(&bytes[156..]);
    let spaces = 8 * u32::from(b' ');
    let unsigned = counted().map(|&byte| u32::from(byte)).sum::<u32>() + spaces;
    let signed = || counted().map(|&byte| i64::from(byte as i8)).sum::<i64>() + i64::from(spaces);
    stated == unsigned || i64::from(stated) == signed()
}

/// The program that packed a file, by its first bytes.
pub(super) fn packing(bytes: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "gzip (name it .tar.gz)"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
    ];
    known.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| *name)
}
