//! The records of a table of text: fields between commas, tabs or semicolons, quoted by the standard.

use super::csv_table::{is_head, texts};
use super::{Input, has_extension, is_table};
use crate::error::DataError;
use crate::source::selection::Selection;
use crate::source::{listing, table};
use csv::{ByteRecord, Reader, ReaderBuilder, Trim};
use std::io::{self, Read};
use std::path::Path;

/// What separates fields.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// The records of a table, with the lines in which they begin.
pub(super) struct Records<'a> {
    path: &'a Path,
    reader: Reader<Counted>,
    /// Memory for the next.
    spare: ByteRecord,
    /// Where the last began, and whether it ended in a later line.
    last: (u64, bool),
    /// Whether lines end in a carriage return and a line feed.
    returns: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(
        path: &'a Path,
        input: Input,
        start: &[u8],
        asked: &Selection,
    ) -> Records<'a> {
        let (separator, spaced) = format(path, start, asked);
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(separator);
        builder.comment((!is_table(path)).then_some(b'#'));
        builder.trim(if spaced { Trim::All } else { Trim::None });
        let reader = builder.from_reader(Counted { input, quotes: 0, bytes: 0, last: 0 });
        let feed = start.iter().position(|&byte| byte == b'\n');
        let returns = feed.is_some_and(|at| start[..at].ends_with(b"\r"));
        Records { path, reader, spare: ByteRecord::new(), last: (0, false), returns }
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<(u64, ByteRecord)>, DataError> {
        let mut record = std::mem::take(&mut self.spare);
        let read = self.reader.read_byte_record(&mut record);
        let is_record = read.map_err(|error| {
            let source = match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                _ => io::ErrorKind::InvalidData.into(),
            };
            DataError::Unreadable { path: self.path.into(), source }
        })?;
        if !is_record {
            return self.check_quotes().map(|()| None);
        }
        let within = record.as_slice().iter().filter(|&&byte| byte == b'\n').count() as u64;
        let line = self.last_line().saturating_sub(within);
        self.last = (line, within > 0);
        Ok(Some((line, record)))
    }

    /// The line in which the last record ends. The reader is past its line feed, if that is what
    /// ends a line; of two characters, it is past the first.
    fn last_line(&self) -> u64 {
        let (position, read) = (self.reader.position(), self.reader.get_ref());
        let is_open = read.last != b'\n' || read.is_in_quotes();
        let at_end = position.byte() == read.bytes && is_open;
        position.line() - u64::from(!self.returns && !at_end)
    }

    /// Takes a record back whose memory is used again.
    pub(super) fn give_back(&mut self, record: ByteRecord) {
        self.spare = record;
    }

    /// A quote without an end makes the rest of the file one field.
    fn check_quotes(&self) -> Result<(), DataError> {
        let (line, spans_lines) = self.last;
        if !spans_lines || !self.reader.get_ref().is_in_quotes() {
            return Ok(());
        }
        let problem = format!("has a double quote without its end in line {line}");
        let mend = "close it, or write it twice if it is part of a field";
        Err(table::fault(self.path, problem, mend))
    }

    /// A hash of all that was read.
    pub(super) fn hash(&self) -> u64 {
        self.reader.get_ref().input.hash.0
    }
}

/// Counts what is read.
struct Counted {
    input: Input,
    /// Double quotes.
    quotes: usize,
    bytes: u64,
    /// The last byte.
    last: u8,
}

impl Counted {
    /// Whether a quote is open, by the standard.
    fn is_in_quotes(&self) -> bool {
        self.quotes % 2 == 1
    }
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.quotes += out[..count].iter().filter(|&&byte| byte == b'"').count();
        self.bytes += count as u64;
        self.last = out[..count].last().copied().unwrap_or(self.last);
        Ok(count)
    }
}

/// What separates the fields, and whether spaces follow it: judged by the first line, in which a
/// known head counts most, then the name of an image, then the number of fields.
fn format(path: &Path, start: &[u8], asked: &Selection) -> (u8, bool) {
    let is_content = |line: &&[u8]| {
        let line = line.trim_ascii();
        !line.is_empty() && (is_table(path) || !line.starts_with(b"#"))
    };
    let line = start.split(|&byte| byte == b'\n').find(is_content).unwrap_or_default();
    let mut best = ((0, 0), b',', false);
    let tabs_first = has_extension(path, "tsv");
    let separators = tabs_first.then_some(b'\t').into_iter().chain(SEPARATORS);
    for separator in separators {
        let mut reader =
            ReaderBuilder::new().has_headers(false).delimiter(separator).from_reader(line);
        let mut record = ByteRecord::new();
        if !reader.read_byte_record(&mut record).unwrap_or(false) {
            continue;
        }
        let fields: Vec<String> = texts(&record);
        let trimmed = || fields.iter().map(|field| field.trim());
        let rank = if trimmed().any(|field| is_head(field, asked)) {
            2
        } else {
            usize::from(trimmed().any(listing::is_image))
        };
        let spaced = fields.len() > 1 && fields[1..].iter().all(|field| field.starts_with(' '));
        if (rank, fields.len()) > best.0 {
            best = ((rank, fields.len()), separator, spaced);
        }
    }
    (best.1, best.2)
}
