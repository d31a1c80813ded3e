//! The index of pages, looked through before the library reads it.

use super::structures::OFFSET_INDEX;
use super::{Source, refuse_damaged};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use std::io::Cursor;
use std::ops::Range;

/// Reads the index of pages, if the file has one, and adds it to what the footer says.
pub(super) fn add(
    source: &Source,
    metadata: ParquetMetaData,
) -> Result<ParquetMetaData, ParquetError> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let indices = columns.filter_map(|column| column.offset_index_range()).collect();
    let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    reader.read_page_indexes(&Checked { source, indices })?;
    reader.finish()
}

/// Reads bytes that hold indices, each of which must hold together.
struct Checked<'a> {
    source: &'a Source,
    /// Where each of them lies in the file.
    indices: Vec<Range<u64>>,
}

impl Length for Checked<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }
}

impl ChunkReader for Checked<'_> {
    type T = <Source as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.source.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.source.get_bytes(start, length)?;
        for index in &self.indices {
            let place = |at: u64| at.checked_sub(start).map(|at| at as usize);
            let range = place(index.start).zip(place(index.end));
            if let Some(index) = range.and_then(|(start, end)| bytes.get(start..end)) {
                refuse_damaged(Cursor::new(index), OFFSET_INDEX)?;
            }
        }
        Ok(bytes)
    }
}
