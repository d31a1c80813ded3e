//! How much a structure in Thrift's compact protocol claims to hold.
//!
//! Footers and headers of pages are such structures. The library passes over fields that it does
//! not know, and takes no byte for a truth value of a list there: a list of 2^31 of them, made up by
//! a few damaged bytes, costs it a second, and a list of such lists hours. No field of Parquet that is read
//! here holds such a list, so that a long one is damage.
//!
//! Source: Thrift's "compact protocol encoding", lists, maps and structs.

use std::io::{self, Read, Seek, SeekFrom};

/// Truth values in lists of a structure from which on it is damaged.
const MOST: u64 = 1 << 20;
/// Structures within structures that the library follows.
const DEEPEST: usize = 64;

/// Why the walk through a structure ends early.
enum Stop {
    /// More truth values than [`MOST`].
    Endless,
    /// The structure cannot be followed, which the library will find too.
    Unclear,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Stop {
        Stop::Unclear
    }
}

/// Whether the structure that begins here claims lists whose passing over would take the library long.
/// Leaves the reader anywhere.
pub(super) fn is_endless(from: impl Read + Seek) -> bool {
    matches!(Walk { from, truths: 0 }.structure(DEEPEST), Err(Stop::Endless))
}

struct Walk<R> {
    from: R,
    /// Truth values in lists so far.
    truths: u64,
}

impl<R: Read + Seek> Walk<R> {
    fn structure(&mut self, depth: usize) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Unclear)?;
        loop {
            let head = self.byte()?;
            let kind = head & 0xf;
            if kind == 0 {
                return Ok(());
            }
            // Without a difference from the field before, the field's number follows.
            if head >> 4 == 0 {
                self.number()?;
            }
            // A truth value is in the field's head.
            if !is_truth(kind) {
                self.value(kind, depth)?;
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<(), Stop> {
        match kind {
            1 | 2 => self.truth(1),
            3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => self.number().and_then(|length| self.skip(length)),
            9 | 10 => self.list(depth),
            11 => self.map(depth),
            12 => self.structure(depth),
            13 => self.skip(16),
            _ => Err(Stop::Unclear),
        }
    }

    fn list(&mut self, depth: usize) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Unclear)?;
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
        let kind = head & 0xf;
        if is_truth(kind) {
            return self.truth(count);
        }
        (0..count).try_for_each(|_| self.value(kind, depth))
    }

    fn map(&mut self, depth: usize) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Unclear)?;
        let count = self.number()?;
        let kinds = if count > 0 { self.byte()? } else { 0 };
        let (key, value) = (kinds >> 4, kinds & 0xf);
        if is_truth(key) && is_truth(value) {
            return self.truth(count);
        }
        (0..count).try_for_each(|_| {
            self.value(key, depth)?;
            self.value(value, depth)
        })
    }

    fn truth(&mut self, count: u64) -> Result<(), Stop> {
        self.truths = self.truths.saturating_add(count);
        if self.truths > MOST { Err(Stop::Endless) } else { Ok(()) }
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// A number of seven bits a byte, the lowest first.
    fn number(&mut self) -> Result<u64, Stop> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Stop::Unclear)
    }

    /// Passes over bytes, the last of which is read: to seek beyond the end is no error.
    fn skip(&mut self, bytes: u64) -> Result<(), Stop> {
        let Some(before_last) = bytes.checked_sub(1) else { return Ok(()) };
        let before_last = i64::try_from(before_last).map_err(|_| Stop::Unclear)?;
        self.from.seek(SeekFrom::Current(before_last))?;
        self.byte().map(drop)
    }
}

fn is_truth(kind: u8) -> bool {
    matches!(kind, 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// 2^31 - 1 as a number of the protocol.
    const MANY: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x07];

    fn endless(parts: &[&[u8]]) -> bool {
        is_endless(Cursor::new(parts.concat()))
    }

    #[test]
    fn lists_of_truth_values_without_end_are_found_wherever_they_are() {
        for kind in [0xf1, 0xf2] {
            let list = [&[kind][..], &MANY].concat();
            // A list, a set, and a list whose field's number follows.
            assert!(endless(&[&[0x19], &list]));
            assert!(endless(&[&[0x1a], &list]));
            assert!(endless(&[&[0x09, 0x02], &list]));
            // After fields of every other kind, a truth value among them.
            let fields: &[u8] =
                &[0x11, 0x13, 9, 0x15, 0x80, 1, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0x18, 2, 0xf1, 0xff];
            assert!(endless(&[fields, &[0x19], &list]));
            // In a structure in a list, in a list in a list, in the values of a map.
            assert!(endless(&[&[0x19, 0x1c, 0x19], &list]));
            assert!(endless(&[&[0x19, 0x19], &list]));
            assert!(endless(&[&[0x1b, 1, 0x39, 5], &list]));
        }
        // A map of truth values to truth values.
        assert!(endless(&[&[0x1b], &MANY, &[0x11]]));
        // Many lists, none of which is long alone.
        let short = [0xf1, 0xff, 0xff, 0x07].repeat(20);
        assert!(endless(&[&[0x19, 0xf9, 20], &short]));
    }

    #[test]
    fn what_holds_together_or_is_cut_off_is_left_to_the_library() {
        assert!(!endless(&[&[0x19, 0x31, 1, 2, 1, 0]]));
        assert!(!endless(&[&[0x18, 6, 0xf1], &MANY, &[0]]), "they are the bytes of a text");
        // Lists of what takes bytes end with the bytes.
        for kind in 3..=13 {
            assert!(!endless(&[&[0x19, 0xf0 | kind], &MANY]), "{kind}");
        }
        assert!(!endless(&[&[0x1c; 1000]]), "nested beyond what is followed");
        assert!(!endless(&[&[0x1e]]) && !endless(&[&[]]) && !endless(&[&[0x15, 0xff]]));
    }
}
