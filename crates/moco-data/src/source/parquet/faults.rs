//! What is wrong with a file, in words that do not come from the library.

use super::{File, Source};
use crate::caught::caught;
use crate::error::{DataError, Unreachable};
use crate::source::blob::Blob;
use crate::source::table;
use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use std::io;
use std::path::Path;

/// First and last bytes of a file; of one whose footer is encrypted, the last are others.
const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED: &[u8] = b"PARE";
/// What stands in place of a large file where a repository was cloned without them.
const POINTER: &[u8] = b"version https://git-lfs";

/// The library panics on some damaged files.
pub(super) fn guard<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught(work).unwrap_or_else(|_| Err(ParquetError::General("the reader gave up".into())))
}

/// The system's reason, if that is why a read failed, and not that the file does not add up.
pub(super) fn system_error(error: &ParquetError) -> Option<io::Error> {
    let ParquetError::External(inner) = error else { return None };
    let error = inner.downcast_ref::<io::Error>()?;
    let kind = error.kind();
    let is_content = matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData);
    let again = || match Unreachable::within(error) {
        Some(server) => io::Error::new(kind, server),
        None => io::Error::new(kind, error.to_string()),
    };
    (!is_content).then(again)
}

/// The error of a part of a file that cannot be made out.
pub(super) fn damaged(path: &Path, part: &str, error: &ParquetError) -> DataError {
    if let Some(source) = system_error(error) {
        return DataError::Unreadable { path: path.into(), source };
    }
    if let ParquetError::NYI(_) = error {
        let problem = format!("uses a part of the format that is not read, in {part}");
        return table::fault(path, problem, "write it again with pyarrow's default settings");
    }
    DataError::Damaged { path: path.into(), reason: format!("{part} cannot be made out") }
}

/// The error of a file whose footer cannot be read.
pub(super) fn footer(path: &Path, source: &Source, error: &ParquetError) -> DataError {
    let Source(blob) = source;
    let begin = ends(blob, 0, POINTER.len());
    let end = ends(blob, blob.len().saturating_sub(4), 4);
    let damaged_by = |reason: &str| DataError::Damaged { path: path.into(), reason: reason.into() };
    if system_error(error).is_some() {
        damaged(path, "its footer", error)
    } else if begin == POINTER {
        let problem = "is only a pointer to a file that Git LFS keeps";
        table::fault(path, problem, "fetch the file with `git lfs pull`")
    } else if end == ENCRYPTED {
        table::fault(path, "is encrypted", "write it without encryption")
    } else if !begin.starts_with(MAGIC) {
        damaged_by("it does not begin as Parquet does")
    } else if end != MAGIC {
        damaged_by("it does not end as Parquet does, so that a part is missing")
    } else {
        damaged(path, "its footer", error)
    }
}

/// Up to `length` bytes.
fn ends(blob: &Blob, offset: u64, length: usize) -> Vec<u8> {
    let length = (blob.len() - offset).min(length as u64) as usize;
    blob.read(offset, length).map(|bytes| bytes.to_vec()).unwrap_or_default()
}

/// Refuses columns that are compressed in a way that is not read.
pub(super) fn check_compression(file: &File) -> Result<(), DataError> {
    for group in file.metadata.row_groups() {
        for leaf in file.columns.leaves() {
            let name = match group.column(leaf).compression() {
                Compression::BROTLI(_) => "Brotli",
                Compression::LZO => "LZO",
                _ => continue,
            };
            let problem = format!("is compressed with {name}, which is not read");
            return Err(table::fault(
                &file.path,
                problem,
                "write it again with Zstandard or Snappy",
            ));
        }
    }
    Ok(())
}
