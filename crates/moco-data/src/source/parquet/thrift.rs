//! Whether a structure in Thrift's compact protocol holds together.
//!
//! Footers, headers of pages and indices of pages are such structures. The library passes over fields that
//! it does not know, and takes no byte for a truth value of a list there: a list of 2^31 of them, made up
//! by a few damaged bytes, costs it a second, and a list of such lists hours. It also makes room for as
//! many places of pages as an index claims. Both are found here first: no field of Parquet that is read
//! holds a list of truth values, and other lists end with their bytes.
//!
//! Source: Thrift's "compact protocol encoding", structs, lists and maps.

use super::structures::{Fields, Form};
use std::io::{self, Read, Seek, SeekFrom};

/// Truth values in lists of a structure from which on it is damaged.
const MOST: u64 = 1 << 20;
/// Structures and lists within one another from which on it is damaged.
const DEEPEST: usize = 64;

/// Why the walk through a structure ends early.
enum Stop {
    Damaged,
    /// The system's reason, which the library will meet too.
    System,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Stop::Damaged,
            _ => Stop::System,
        }
    }
}

/// Whether the structure that begins here does not end, has a field of a wrong kind, or claims lists whose
/// passing over would take the library long. Leaves the reader anywhere.
pub(super) fn is_damaged(from: impl Read + Seek, fields: Fields) -> bool {
    matches!(Walk { from, truths: 0 }.structure(fields, DEEPEST), Err(Stop::Damaged))
}

struct Walk<R> {
    from: R,
    /// Truth values in lists so far.
    truths: u64,
}

impl<R: Read + Seek> Walk<R> {
    fn structure(&mut self, fields: Fields, depth: usize) -> Result<(), Stop> {
        let mut number = 0;
        loop {
            let head = self.byte()?;
            let kind = head & 0xf;
            if kind == 0 {
                return Ok(());
            }
            // Without a difference from the field before, the field's number follows.
            number = match i16::from(head >> 4) {
                0 => self.field_number()?,
                step => number.checked_add(step).ok_or(Stop::Damaged)?,
            };
            let known = fields.iter().find(|field| field.0 == number);
            let form = known.map(|(_, form)| form.of_kind(kind)).transpose()?;
            // A truth value is in the field's head.
            if !is_truth(kind) {
                self.value(kind, form, depth)?;
            }
        }
    }

    /// Passes over a value; its form is that of a known field.
    fn value(&mut self, kind: u8, form: Option<Form>, depth: usize) -> Result<(), Stop> {
        let deeper = || depth.checked_sub(1).ok_or(Stop::Damaged);
        match (kind, form) {
            (1 | 2, _) => self.truth(1),
            (3, _) => self.skip(1),
            (4..=6, _) => self.number().map(drop),
            (7, _) => self.skip(8),
            (8, _) => self.number().and_then(|length| self.skip(length)),
            (9 | 10, Some(Form::List(item))) => self.list(Some(item), deeper()?),
            (9 | 10, _) => self.list(None, deeper()?),
            (11, _) => self.map(deeper()?),
            (12, Some(Form::Structure(fields))) => self.structure(fields, deeper()?),
            (12, _) => self.structure(&[], deeper()?),
            (13, _) => self.skip(16),
            _ => Err(Stop::Damaged),
        }
    }

    fn list(&mut self, item: Option<&Form>, depth: usize) -> Result<(), Stop> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
        let kind = head & 0xf;
        if count == 0 {
            return Ok(());
        }
        let form = item.map(|form| form.of_kind(kind)).transpose()?;
        if is_truth(kind) {
            return self.truth(count);
        }
        (0..count).try_for_each(|_| self.value(kind, form, depth))
    }

    fn map(&mut self, depth: usize) -> Result<(), Stop> {
        let count = self.number()?;
        let kinds = if count > 0 { self.byte()? } else { 0 };
        let (key, value) = (kinds >> 4, kinds & 0xf);
        if is_truth(key) && is_truth(value) {
            return self.truth(count);
        }
        (0..count).try_for_each(|_| {
            self.value(key, None, depth)?;
            self.value(value, None, depth)
        })
    }

    fn truth(&mut self, count: u64) -> Result<(), Stop> {
        self.truths = self.truths.saturating_add(count);
        if self.truths > MOST { Err(Stop::Damaged) } else { Ok(()) }
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
        Err(Stop::Damaged)
    }

    /// A field's number where it is written out, its sign in the last bit.
    fn field_number(&mut self) -> Result<i16, Stop> {
        let number = self.number()?;
        let value = (number >> 1) as i64 ^ -((number & 1) as i64);
        i16::try_from(value).map_err(|_| Stop::Damaged)
    }

    /// Passes over bytes, the last of which is read: to seek beyond the end is no error.
    fn skip(&mut self, bytes: u64) -> Result<(), Stop> {
        let Some(before_last) = bytes.checked_sub(1) else { return Ok(()) };
        let before_last = i64::try_from(before_last).map_err(|_| Stop::Damaged)?;
        self.from.seek(SeekFrom::Current(before_last))?;
        self.byte().map(drop)
    }
}

impl Form {
    /// This form, if a value of the kind is written so.
    fn of_kind(self, kind: u8) -> Result<Form, Stop> {
        let fits = match self {
            Form::Truth => is_truth(kind),
            Form::Byte => kind == 3,
            Form::Number => matches!(kind, 4..=6),
            Form::Double => kind == 7,
            Form::Bytes => kind == 8,
            Form::List(_) => matches!(kind, 9 | 10),
            Form::Structure(_) => kind == 12,
        };
        if fits { Ok(self) } else { Err(Stop::Damaged) }
    }
}

fn is_truth(kind: u8) -> bool {
    matches!(kind, 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::super::structures::{FOOTER, OFFSET_INDEX, PAGE_HEADER};
    use super::*;
    use std::io::Cursor;

    /// 2^31 - 1 as a number of the protocol.
    const MANY: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x07];

    /// Of a structure without fields that are known, which ends after these bytes.
    fn damaged(parts: &[&[u8]]) -> bool {
        is_damaged(Cursor::new([&parts.concat()[..], &[0]].concat()), &[])
    }

    #[test]
    fn lists_of_truth_values_without_end_are_found_wherever_they_are() {
        for kind in [0xf1, 0xf2] {
            for count in [&MANY[..], &[5]] {
                let list = [&[kind][..], count].concat();
                let found = |before: &[u8], after: &[u8]| {
                    damaged(&[before, &list, after]) == (count != [5])
                };
                // A list, a set, and a list whose field's number follows.
                assert!(found(&[0x19], &[]));
                assert!(found(&[0x1a], &[]));
                assert!(found(&[0x09, 0x02], &[]));
                // After fields of every other kind, a truth value among them.
                let fields: &[u8] = &[
                    0x11, 0x13, 9, 0x15, 0x80, 1, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0x18, 2, 0xf1, 0xff,
                ];
                assert!(found(&[fields, &[0x19]].concat(), &[]));
                // In a structure in a list, in a list in a list, in the values of a map.
                assert!(found(&[0x19, 0x1c, 0x19], &[0]));
                assert!(found(&[0x19, 0x19], &[]));
                assert!(found(&[0x1b, 1, 0x39, 5], &[]));
            }
        }
        // A map of truth values to truth values.
        assert!(damaged(&[&[0x1b], &MANY, &[0x11]]) && !damaged(&[&[0x1b, 9, 0x11]]));
        // Many lists, none of which is long alone.
        let short = [0xf1, 0xff, 0xff, 0x07].repeat(20);
        assert!(damaged(&[&[0x19, 0xf9, 20], &short]) && !damaged(&[&[0x19, 0x19], &short[..4]]));
    }

    #[test]
    fn what_does_not_end_or_is_of_no_kind_is_damage() {
        assert!(!damaged(&[&[0x19, 0x35, 1, 2, 1]]));
        assert!(!damaged(&[&[0x18, 6, 0xf1], &MANY]), "they are the bytes of a text");
        // Lists of what takes bytes end with the bytes.
        for kind in 3..=13 {
            assert!(damaged(&[&[0x19, 0xf0 | kind], &MANY]), "{kind}");
        }
        let nested = |count| damaged(&[&vec![0x1c; count], &vec![0; count]]);
        assert!(!nested(DEEPEST) && nested(DEEPEST + 1) && nested(1000));
        let too_long = [&[0x15][..], &[0xff; 10], &[0]].concat();
        assert!(damaged(&[&[0x1e]]) && damaged(&[&[0x15, 0xff]]) && damaged(&[&too_long]));
        // Fields are numbered up to 2^15 - 1.
        assert!(
            !damaged(&[&[0x05, 0xfe, 0xff, 0x03, 1]]) && damaged(&[&[0x05, 0x80, 0x80, 0x04, 1]])
        );
        assert!(damaged(&[&[0x05, 0xfe, 0xff, 0x03, 1, 0x15, 1]]));
    }

    #[test]
    fn known_fields_are_of_their_kind() {
        let wrong = |fields, bytes: &[u8]| is_damaged(Cursor::new(bytes), fields);
        // A number of another width, but neither a text nor a list of numbers.
        assert!(!wrong(PAGE_HEADER, &[0x16, 4, 0]));
        assert!(wrong(PAGE_HEADER, &[0x18, 1, 7, 0]) && wrong(PAGE_HEADER, &[0x19, 0x15, 1, 0]));
        // An unknown field may be anything, after it a known one not.
        assert!(!wrong(PAGE_HEADER, &[0xf9, 0x15, 1, 0]));
        assert!(wrong(PAGE_HEADER, &[0xf9, 0x15, 1, 0x08, 2, 0, 0]));
        // Within a structure of the second layout of pages, whether they are compressed.
        assert!(!wrong(PAGE_HEADER, &[0x8c, 0x71, 0, 0]));
        assert!(wrong(PAGE_HEADER, &[0x8c, 0x75, 1, 0, 0]));
        // Lists: of structures, of texts, empty and of no kind.
        assert!(!wrong(FOOTER, &[0x59, 0x1c, 0x18, 1, 7, 0, 0]));
        assert!(wrong(FOOTER, &[0x59, 0x18, 1, 7, 0]) && !wrong(FOOTER, &[0x59, 0, 0]));
        // A structure in a list whose own field is wrong.
        assert!(wrong(FOOTER, &[0x59, 0x1c, 0x15, 1, 0, 0]));
        assert!(!wrong(OFFSET_INDEX, &[0x19, 0x1c, 0x16, 8, 0x15, 2, 0x16, 0, 0, 0]));
        assert!(wrong(OFFSET_INDEX, &[&[0x19, 0xfc][..], &MANY, &[0x16, 8, 0]].concat()));
    }

    #[test]
    fn a_reason_of_the_systems_is_left_to_the_library() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        assert!(!is_damaged(Broken, FOOTER));
    }
}
