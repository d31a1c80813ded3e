//! Files of records that a kill or a full disk may have cut in the middle of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that only ever holds whole records, as far as the system lets it.
pub struct Records {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Records {
    /// Opens or creates the file at `path` to append to. `whole` says how many of the bytes that are
    /// there make whole records; what follows them is cut off.
    pub fn open(path: &Path, whole: impl FnOnce(&[u8]) -> usize) -> io::Result<Records> {
        let length = match fs::read(path) {
            Ok(bytes) => whole(&bytes) as u64,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let records = Records { path: path.to_owned(), file, length };
        if records.file.metadata()?.len() > length {
            records.cut()?;
        }
        Ok(records)
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a record, or nothing.
    pub fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(record);
        match written {
            Ok(()) => self.length += record.len() as u64,
            // What got through is of no use.
            Err(_) => drop(self.cut()),
        }
        written
    }

    /// Cuts off what follows the last whole record. A file opened to append cannot be cut everywhere.
    fn cut(&self) -> io::Result<()> {
        OpenOptions::new().write(true).open(&self.path)?.set_len(self.length)
    }
}

/// Bytes up to the end of the last whole line.
pub fn lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

/// Bytes up to the end of the last whole record of a table, in whose quotes a line may end.
pub fn table(bytes: &[u8]) -> usize {
    let (mut quoted, mut whole) = (false, 0);
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => whole = i + 1,
            _ => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_where_the_last_whole_one_ends() {
        assert_eq!([lines(b""), lines(b"a"), lines(b"a\n"), lines(b"a\nb")], [0, 0, 2, 2]);
        assert_eq!(table(b"a,\"x\ny\"\nb,\"u\nv"), 8);
        assert_eq!(table(b"a,\"\"\"q\"\"\"\nb"), 10);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, b"one\ntw").unwrap();
        let mut records = Records::open(&path, lines).unwrap();
        records.append(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert!(!records.is_empty());
    }

    /// A disk without room, as far as a system has one.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_written_whole_is_an_error() {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        let mut full = Records { path, file, length: 0 };
        assert_eq!(full.append(b"x\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(full.is_empty());
    }
}
