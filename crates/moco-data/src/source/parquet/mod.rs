//! Parquet as Hugging Face publishes image data sets: a column of structs `{bytes, path}` of encoded
//! images, of plain bytes, or of paths, and often a column of labels. A row that holds only a path
//! stands for the file there, counted from the folder of the table; one that holds neither is
//! passed over.
//!
//! Only the labels and paths are read at the start. An image is found through the index of pages
//! of its column; its page, about a megabyte, is read and decoded alone, and the latest pages are
//! kept. Images in random order thus cost one page each, which is at most some ten times their size.

mod choose;
mod columns;
mod faults;
mod features;
mod gathered;
mod index;
mod labels;
mod pages;
mod rows;
mod schema;
mod structures;
mod thrift;

use super::blob::{Blob, Stride, Window};
use super::listing::{Fnv, Listing};
use super::named_files;
use super::selection::Selection;
use super::{Holdings, Raw, Store};
use crate::error::{DataError, ImageError};
use ::parquet::errors::ParquetError;
use ::parquet::file::FOOTER_SIZE;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use choose::Choice;
use columns::Columns;
use faults::{damaged, guard};
use gathered::Gathered;
use pages::{Page, PageCache, Pages};
use rows::Rows;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use structures::{FOOTER, Fields, PAGE_HEADER};

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
    /// What the names of its images begin with.
    name: String,
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
    /// Its rows that are in the data set; `None` if it is all of them.
    kept: Option<Vec<u32>>,
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
    type T = Window;

    /// Of a page's header, and the last bytes of the file.
    fn get_read(&self, start: u64) -> Result<Window, ParquetError> {
        let mut window = self.0.window(start, Stride::Peek);
        if start.saturating_add(FOOTER_SIZE as u64) != self.len() {
            refuse_damaged(&mut window, PAGE_HEADER)?;
            window.seek(SeekFrom::Start(start))?;
        }
        Ok(window)
    }

    /// Of a footer, an index, or a page, with its header or without.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.0.read(start, length)?;
        if start.saturating_add((length + FOOTER_SIZE) as u64) == self.len() {
            refuse_damaged(Cursor::new(&bytes), FOOTER)?;
        }
        Ok(bytes)
    }
}

/// An error for a structure in which the library would be lost.
fn refuse_damaged(structure: impl Read + Seek, fields: Fields) -> Result<(), ParquetError> {
    match thrift::is_damaged(structure, fields) {
        true => Err(ParquetError::General("a structure does not hold together".into())),
        false => Ok(()),
    }
}

impl Parquet {
    /// Reads the labels and paths of all files, in their order. The first decides on the columns.
    pub(super) fn open(
        files: Vec<(PathBuf, Arc<Blob>)>,
        asked: &Selection,
    ) -> Result<(Listing, Parquet), DataError> {
        let mut parquet =
            Parquet { files: Vec::new(), groups: Vec::new(), cache: PageCache::new(CACHE_BYTES) };
        let mut listing = Listing::default();
        let (mut content, mut gathered) = (Fnv::new(), Gathered::default());
        let mut chosen: Option<Choice> = None;
        for (path, blob) in files {
            content.feed(&blob.len().to_le_bytes());
            let mut file = File::open(&path, blob, &mut listing.holdings)?;
            let choice = match chosen.take() {
                Some(choice) => choice,
                None => file.choose(asked, &mut listing.holdings)?,
            };
            file.bind(&choice, parquet.files.first().unwrap_or(&file).path.clone())?;
            parquet.check_alike(&file, &choice)?;
            parquet.add(file, &mut listing, &mut gathered)?;
            chosen = Some(choice);
        }
        if let Some(choice) = chosen {
            // Names and sizes are the same whichever of several columns is read.
            if choice.had_others {
                content.feed(choice.image.as_bytes());
            }
            gathered.finish(&parquet, &choice, &mut listing)?;
        }
        listing.content = content.0;
        Ok((listing, parquet))
    }

    fn add(
        &mut self,
        file: File,
        listing: &mut Listing,
        gathered: &mut Gathered,
    ) -> Result<(), DataError> {
        let mut before = 0;
        for index in 0..file.metadata.num_row_groups() {
            let rows = guard(|| Rows::read(&file, index))
                .map_err(|error| damaged(&file.path, "its column of images", &error))?;
            let first = listing.entries.len();
            rows.for_each(file.rows(index), |row, path| {
                let number = format!("/{:06}", before + row);
                match path {
                    Some(path) => listing.entries.push_parts(&[&file.name, &number, "/", path], 0),
                    None => listing.entries.push_parts(&[&file.name, &number], 0),
                }
            });
            guard(|| gathered.labels.read(&file, index, rows.kept.as_deref()))
                .map_err(|error| damaged(&file.path, "its column of labels", &error))?;
            before += file.rows(index);
            gathered.count(self.files.len(), &rows, file.rows(index));
            let kept = rows.kept;
            self.groups.push(Group {
                file: self.files.len(),
                index,
                first,
                kept,
                pages: OnceLock::new(),
            });
        }
        self.files.push(file);
        Ok(())
    }

    /// The row group that holds image `i`.
    fn group_of(&self, i: usize) -> &Group {
        &self.groups[self.groups.partition_point(|group| group.first <= i) - 1]
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
    fn read(&self, i: usize, name: &str) -> Result<Raw<'_>, ImageError> {
        let group = self.group_of(i);
        let file = &self.files[group.file];
        if file.columns.image.is_some() {
            let found = guard(|| self.page(group, group.row(i)));
            let (page, row) = found.map_err(|error| file.page_error(&error))?;
            if let Some(bytes) = page.value(row) {
                return Ok(Raw::File(Bytes::copy_from_slice(bytes)));
            }
        }
        file.read_named(name).map(Raw::File)
    }
}

impl File {
    fn open(path: &Path, blob: Arc<Blob>, holdings: &mut Holdings) -> Result<File, DataError> {
        let source = Arc::new(Source(blob));
        let footer = || {
            let read = || ParquetMetaDataReader::new().parse_and_finish(&*source);
            guard(read).map_err(|error| faults::footer(path, &source, &error))
        };
        let metadata = footer()?;
        let metadata = match guard(|| index::add(&source, metadata)) {
            Ok(metadata) => metadata,
            Err(error) if faults::system_error(&error).is_none() => {
                let path = path.display();
                holdings.note(format!("the index of pages in `{path}` is damaged and not used"));
                footer()?
            }
            Err(error) => return Err(damaged(path, "its index of pages", &error)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File { path: path.into(), name, source, metadata, columns: Columns::default() };
        file.check_rows()?;
        Ok(file)
    }

    /// Rows that a damaged file only claims to have are an error before they are a listing.
    fn check_rows(&self) -> Result<(), DataError> {
        let groups = self.metadata.row_groups();
        let rows = groups.iter().map(|group| u64::try_from(group.num_rows()).ok());
        let total = rows.sum::<Option<u64>>();
        if total.is_none_or(|rows| rows > self.source.len()) {
            let reason = "it claims more rows than it has bytes".into();
            return Err(DataError::Damaged { path: self.path.clone(), reason });
        }
        Ok(())
    }

    /// Decides on the columns of a data set whose first file this is.
    fn choose(&self, asked: &Selection, holdings: &mut Holdings) -> Result<Choice, DataError> {
        let metadata = self.metadata.file_metadata();
        let first_value = |leaf| guard(|| columns::first_value(self, leaf)).ok().flatten();
        let table = choose::Table {
            path: &self.path,
            columns: &schema::columns(metadata),
            features: &features::features(metadata),
            first_value: &first_value,
        };
        table.choose(asked, holdings)
    }

    /// Finds the chosen columns in this file; `first` is the file by which they were chosen.
    fn bind(&mut self, choice: &Choice, first: PathBuf) -> Result<(), DataError> {
        let metadata = self.metadata.file_metadata();
        let (columns, features) = (schema::columns(metadata), features::features(metadata));
        self.columns = Columns::bind(choice, &columns, &features, &self.path, &first)?;
        faults::check_compression(self)
    }

    fn rows(&self, group: usize) -> usize {
        self.metadata.row_group(group).num_rows() as usize
    }

    /// The folder that paths in the file count from; `None` if it lies in no folder.
    fn folder(&self) -> Option<&Path> {
        let Source(blob) = &*self.source;
        matches!(**blob, Blob::File(..)).then(|| self.path.parent().unwrap_or(Path::new("")))
    }

    /// The path within the name of an image of this file.
    fn path_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (_, path) = name.strip_prefix(&*self.name)?.strip_prefix('/')?.split_once('/')?;
        Some(path)
    }

    /// Reads the file that a row names.
    fn read_named(&self, name: &str) -> Result<Bytes, ImageError> {
        let refused = |reason| Err(ImageError::Read(io::Error::other(reason)));
        let Some(path) = self.path_in(name) else {
            return refused("its row of the table holds no image".to_string());
        };
        match self.folder().filter(|_| !named_files::is_address(path)) {
            Some(folder) => named_files::read(&named_files::path_of(folder, path)),
            None => refused(format!("the table holds only its path, `{path}`")),
        }
    }

    fn page_error(&self, error: &ParquetError) -> ImageError {
        let error = faults::system_error(error)
            .unwrap_or_else(|| io::Error::other(format!("its page of `{}` is damaged", self.name)));
        ImageError::Read(error)
    }
}
