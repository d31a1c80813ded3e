//! Parquet as Hugging Face publishes image data sets: a column of structs `{bytes, path}` of encoded
//! images, or of plain bytes, and often a column of labels.
//!
//! Only the labels and paths are read at the start. An image is found through the index of pages
//! of its column; its page, about a megabyte, is read and decoded alone, and the latest pages are
//! kept. Images in random order thus cost one page each, which is at most some ten times their size.

mod columns;
mod pages;

use super::blob::{Blob, Stride, Window};
use super::listing::{Fnv, Labels, Listing};
use super::selection::Selection;
use super::{Raw, Store};
use crate::error::{DataError, ImageError};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use columns::{Columns, LabelValues};
use pages::{Page, PageCache, Pages};
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Memory for decoded pages: some threads' worth of neighbours when read in order.
const CACHE_BYTES: usize = 64 << 20;

/// Row groups of one or several files.
pub(super) struct Parquet {
    files: Vec<File>,
    groups: Vec<Group>,
    cache: PageCache,
}

struct File {
    path: PathBuf,
    source: Arc<Source>,
    metadata: ParquetMetaData,
    columns: Columns,
}

/// A row group of a file.
struct Group {
    file: usize,
    index: usize,
    /// Index in the data set of its first row.
    first: usize,
    /// The pages of its images, once known.
    pages: OnceLock<Pages>,
}

/// A [`Blob`] as the library reads it.
struct Source(Arc<Blob>);

impl Length for Source {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Source {
    type T = Unending;

    fn get_read(&self, start: u64) -> Result<Unending, ParquetError> {
        Ok(Unending(self.0.window(start, Stride::Peek)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.0.read(start, length)?)
    }
}

/// A window whose end is an error. The library skips what it does not know without a look at
/// whether there was anything: a list of 2^31 items, made up by a damaged header, took it minutes.
struct Unending(Window);

impl Read for Unending {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 if !out.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

impl Parquet {
    /// Reads the labels and paths of all files, in their order.
    pub(super) fn open(
        files: Vec<(PathBuf, Arc<Blob>)>,
        _: &Selection,
    ) -> Result<(Listing, Parquet), DataError> {
        let mut parquet =
            Parquet { files: Vec::new(), groups: Vec::new(), cache: PageCache::new(CACHE_BYTES) };
        let mut listing = Listing::default();
        let mut content = Fnv::new();
        let (mut labels, mut class_names) = (LabelValues::default(), None);
        for (path, blob) in files {
            content.feed(&blob.len().to_le_bytes());
            let file = guard(|| File::open(&path, blob)).map_err(|e| damaged(&path, &e))?;
            class_names = class_names.or_else(|| file.columns.class_names.clone());
            parquet.add(file, &mut listing, &mut labels).map_err(|e| damaged(&path, &e))?;
        }
        listing.labels = match (class_names, labels) {
            (Some(names), LabelValues::Numbers(numbers)) => known_classes(&numbers, names),
            (_, labels) => labels.into_labels(),
        };
        listing.content = content.0;
        Ok((listing, parquet))
    }

    fn add(
        &mut self,
        file: File,
        listing: &mut Listing,
        labels: &mut LabelValues,
    ) -> Result<(), ParquetError> {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut row = 0;
        for index in 0..file.metadata.num_row_groups() {
            let first = listing.entries.len();
            self.groups.push(Group {
                file: self.files.len(),
                index,
                first,
                pages: OnceLock::new(),
            });
            let rows = file.rows(index);
            let paths = guard(|| columns::read_paths(&file, index))?;
            for i in 0..rows {
                let number = format!("/{:06}", row + i);
                match paths.get(i).and_then(Option::as_deref) {
                    Some(path) => listing.entries.push_parts(&[&name, &number, "/", path], 0),
                    None => listing.entries.push_parts(&[&name, &number], 0),
                }
            }
            guard(|| columns::read_labels(&file, index, labels))?;
            row += rows;
        }
        self.files.push(file);
        Ok(())
    }

    fn page(&self, group: &Group, number: usize) -> Result<(Arc<Page>, usize), ParquetError> {
        let file = &self.files[group.file];
        let pages = match group.pages.get() {
            Some(pages) => pages,
            None => {
                let found = Pages::find(file, group.index)?;
                group.pages.get_or_init(|| found)
            }
        };
        let (page, row) = pages.holding(number)?;
        let key = (group.first, page);
        if let Some(page) = self.cache.get(key) {
            return Ok((page, row));
        }
        let page = Arc::new(pages.read(file, group.index, page)?);
        self.cache.put(key, &page);
        Ok((page, row))
    }
}

impl Store for Parquet {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        let group = self.groups.partition_point(|group| group.first <= i) - 1;
        let group = &self.groups[group];
        let found = guard(|| self.page(group, i - group.first));
        let (page, row) = found.map_err(|error| ImageError::Read(io::Error::other(error)))?;
        match page.value(row) {
            Some(bytes) => Ok(Raw::File(Bytes::copy_from_slice(bytes))),
            None => Err(ImageError::Empty),
        }
    }
}

impl File {
    fn open(path: &Path, blob: Arc<Blob>) -> Result<File, ParquetError> {
        let source = Arc::new(Source(blob));
        let metadata = ParquetMetaDataReader::new()
            .with_offset_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&*source)?;
        let columns = Columns::find(metadata.file_metadata())?;
        let file = File { path: path.into(), source, metadata, columns };
        file.check_rows()?;
        Ok(file)
    }

    /// Rows that a damaged file only claims to have are an error before they are a listing.
    fn check_rows(&self) -> Result<(), ParquetError> {
        let groups = self.metadata.row_groups();
        let rows = groups.iter().map(|group| u64::try_from(group.num_rows()).ok());
        let total = rows.sum::<Option<u64>>();
        if total.is_none_or(|rows| rows > self.source.len()) {
            return Err(ParquetError::General("it claims more rows than it has bytes".into()));
        }
        Ok(())
    }

    fn rows(&self, group: usize) -> usize {
        self.metadata.row_group(group).num_rows() as usize
    }
}

fn damaged(path: &Path, error: &ParquetError) -> DataError {
    DataError::Damaged { path: path.into(), reason: error.to_string() }
}

/// The library panics on some damaged files.
fn guard<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ParquetError::General("the reader gave up".into())))
}

/// Labels that index the names of the file. Hugging Face writes -1 where labels are withheld.
fn known_classes(numbers: &[Option<i64>], names: Vec<String>) -> Labels {
    let label = |number: &Option<i64>| {
        let label = u32::try_from((*number)?).ok()?;
        ((label as usize) < names.len()).then_some(label)
    };
    match numbers.iter().map(label).collect() {
        Some(labels) => Labels::Given(labels, names),
        None => Labels::Absent,
    }
}
