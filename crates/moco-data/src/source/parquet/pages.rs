//! The pages of the images, and the ones read last.

use super::columns::read_values;
use super::structures::PAGE_HEADER;
use super::{File, Source, refuse_damaged};
use ::parquet::column::page::PageReader;
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::page_index::offset_index::PageLocation;
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::serialized_reader::SerializedPageReader;
use bytes::Bytes;
use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the pages of a column of a row group lie.
pub(super) struct Pages(Vec<PageLocation>);

/// The values of one page.
pub(super) struct Page(Vec<Option<ByteArray>>);

impl Page {
    pub(super) fn value(&self, row: usize) -> Option<&[u8]> {
        self.0.get(row)?.as_ref().map(ByteArray::data)
    }

    /// Whether each value is missing.
    pub(super) fn nulls(&self) -> impl Iterator<Item = bool> {
        self.0.iter().map(Option::is_none)
    }

    fn bytes(&self) -> usize {
        self.0.iter().flatten().map(ByteArray::len).sum()
    }
}

impl Pages {
    /// From the file's index of pages, or else from the headers of the pages.
    pub(super) fn find(file: &File, group: usize) -> Result<Pages, ParquetError> {
        let column = image_column(file)?;
        let index = file.metadata.page_index();
        let known = index.and_then(|index| index.page_locations(group, column)).cloned();
        let chunk = file.metadata.row_group(group).column(column);
        let locations = match known {
            Some(locations) => locations,
            None => walk(&file.source, chunk, file.rows(group))?,
        };
        let sorted = locations.is_sorted_by(|a, b| a.first_row_index < b.first_row_index);
        match locations.first() {
            Some(first) if first.first_row_index == 0 && sorted => Ok(Pages(locations)),
            _ => Err(ParquetError::General("its index of pages makes no sense".into())),
        }
    }

    /// Number of pages.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The page that holds a row of the group, and which of the page's rows it is.
    pub(super) fn holding(&self, row: usize) -> Result<(usize, usize), ParquetError> {
        let row = row as i64;
        let page = self.0.partition_point(|page| page.first_row_index <= row);
        let page = page.saturating_sub(1);
        Ok((page, (row - self.0[page].first_row_index) as usize))
    }

    /// Reads a page, and the column's dictionary if it has one, and nothing else.
    pub(super) fn read(
        &self,
        file: &File,
        group: usize,
        page: usize,
    ) -> Result<Page, ParquetError> {
        let rows = file.rows(group);
        let chunk = file.metadata.row_group(group).column(image_column(file)?);
        let first = self.0[page].first_row_index as usize;
        let end = self.0.get(page + 1).map_or(rows, |next| next.first_row_index as usize);
        let source = Arc::new(WholePages(Arc::clone(&file.source)));
        let pages = SerializedPageReader::new(source, chunk, rows, Some(self.0.clone()))?;
        let descriptor = chunk.column_descr_ptr();
        let levels = descriptor.max_def_level();
        let mut reader = ColumnReaderImpl::<ByteArrayType>::new(descriptor, Box::new(pages));
        if reader.skip_records(first)? != first {
            return Err(ParquetError::General(format!("it ends before its row {first}")));
        }
        read_values(&mut reader, end.saturating_sub(first), levels).map(Page)
    }
}

fn image_column(file: &File) -> Result<usize, ParquetError> {
    let none = || ParquetError::General("no column of images".into());
    file.columns.image.ok_or_else(none)
}

/// Reads the headers of all pages. The library tells how many rows a page has but not where it
/// lies; that shows in where the header is read from.
fn walk(
    source: &Arc<Source>,
    chunk: &ColumnChunkMetaData,
    rows: usize,
) -> Result<Vec<PageLocation>, ParquetError> {
    let spy = Arc::new(Spy { source: Arc::clone(source), last_read: Mutex::new(0) });
    let mut pages = SerializedPageReader::new(Arc::clone(&spy), chunk, rows, None)?;
    let (start, length) = chunk.byte_range();
    let mut locations: Vec<PageLocation> = Vec::new();
    let mut row = 0;
    while let Some(page) = pages.peek_next_page()? {
        let offset = *spy.last_read.lock().unwrap_or_else(PoisonError::into_inner) as i64;
        if let Some(before) = locations.last_mut().filter(|last| last.compressed_page_size == 0) {
            before.compressed_page_size = page_size(offset - before.offset)?;
        }
        if !page.is_dict {
            let count = page.num_rows.or(page.num_levels).unwrap_or(0);
            // A page without rows would hide the one after it.
            if count > 0 {
                locations.push(PageLocation {
                    offset,
                    compressed_page_size: 0,
                    first_row_index: row,
                });
                row += count as i64;
            }
        }
        pages.skip_next_page()?;
    }
    if let Some(last) = locations.last_mut().filter(|last| last.compressed_page_size == 0) {
        let end = start.saturating_add(length) as i64;
        last.compressed_page_size = page_size(end - last.offset)?;
    }
    Ok(locations)
}

fn page_size(bytes: i64) -> Result<i32, ParquetError> {
    i32::try_from(bytes).map_err(|_| ParquetError::General(format!("a page of {bytes} bytes")))
}

/// Reads pages whose places are known, each as a whole, from its header on.
struct WholePages(Arc<Source>);

impl Length for WholePages {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for WholePages {
    type T = <Source as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.0.get_bytes(start, length)?;
        refuse_damaged(Cursor::new(&bytes), PAGE_HEADER)?;
        Ok(bytes)
    }
}

/// Notes where the last reader began.
struct Spy {
    source: Arc<Source>,
    last_read: Mutex<u64>,
}

impl Length for Spy {
    fn len(&self) -> u64 {
        self.source.len()
    }
}

impl ChunkReader for Spy {
    type T = <Source as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        *self.last_read.lock().unwrap_or_else(PoisonError::into_inner) = start;
        self.source.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.source.get_bytes(start, length)
    }
}

/// Row group and page.
type Key = (usize, usize);

/// The pages used last, up to a number of bytes.
pub(super) struct PageCache {
    limit: usize,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    pages: HashMap<Key, (Arc<Page>, u64)>,
    bytes: usize,
    clock: u64,
}

impl PageCache {
    pub(super) fn new(limit: usize) -> PageCache {
        PageCache { limit, state: Mutex::default() }
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<Page>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        let (page, used) = state.pages.get_mut(&key)?;
        *used = now;
        Some(Arc::clone(page))
    }

    pub(super) fn put(&self, key: Key, page: &Arc<Page>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        if state.pages.insert(key, (Arc::clone(page), now)).is_none() {
            state.bytes += page.bytes();
        }
        while state.bytes > self.limit {
            let oldest = state.pages.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            let Some((page, _)) = oldest.and_then(|key| state.pages.remove(&key)) else { break };
            state.bytes -= page.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_what_was_used_last() {
        let page = || Arc::new(Page(vec![Some(ByteArray::from(vec![0; 40])), None]));
        let cache = PageCache::new(100);
        cache.put((0, 0), &page());
        cache.put((0, 1), &page());
        assert!(cache.get((0, 0)).is_some());
        cache.put((0, 2), &page());
        assert!(cache.get((0, 0)).is_some());
        assert!(cache.get((0, 1)).is_none());
        assert!(cache.get((0, 2)).is_some());
    }
}
