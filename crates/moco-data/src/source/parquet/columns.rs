//! The columns in use of one file, and the values of the small ones.

use super::File;
use super::choose::Choice;
use super::features::Feature;
use super::schema::{Column, Kind};
use crate::error::DataError;
use crate::source::table;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::serialized_reader::SerializedPageReader;
use std::path::Path;
use std::sync::Arc;

/// Rows that are looked through for one that is not null.
const PEEKED: usize = 256;

/// Leaf columns by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    /// The encoded images; `None` if there are only paths.
    pub image: Option<usize>,
    pub path: Option<usize>,
    /// Definition level of a row whose struct of bytes and path is there.
    pub present: i16,
    pub label: Option<Label>,
}

/// The column of labels.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub leaf: usize,
    pub kind: Kind,
    /// What the labels count, if the file says.
    pub class_names: Option<Vec<String>>,
}

impl Label {
    /// Whether the column holds nothing but nulls, of no type.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.kind, Kind::Nulls(_))
    }
}

impl Columns {
    /// The chosen columns in a file; `first` is the file by which they were chosen.
    pub(super) fn bind(
        choice: &Choice,
        columns: &[Column],
        features: &[Feature],
        path: &Path,
        first: &Path,
    ) -> Result<Columns, DataError> {
        let found = |name: &str, what: &str| {
            columns.iter().find(|column| column.name == name).ok_or_else(|| {
                let first = first.file_name().unwrap_or_default().to_string_lossy();
                let problem =
                    format!("has no column `{name}`, in which `{first}` holds its {what}");
                table::fault(path, problem, "give only files of one kind")
            })
        };
        let image = found(&choice.image, "images")?;
        let mut bound = match image.kind {
            Kind::Images { bytes, path, present } => {
                Columns { image: Some(bytes), path, present, ..Columns::default() }
            }
            Kind::Bytes(leaf) | Kind::Text(leaf) if choice.is_paths => {
                Columns { path: Some(leaf), ..Columns::default() }
            }
            Kind::Bytes(leaf) => Columns { image: Some(leaf), ..Columns::default() },
            Kind::Nulls(leaf) => Columns { path: Some(leaf), ..Columns::default() },
            _ => return Err(differs(path, image, first)),
        };
        if let Some(name) = &choice.label {
            let Column { kind, .. } = found(name, "labels")?;
            let leaf = match *kind {
                Kind::Integers { leaf, .. } => leaf,
                Kind::Floats(leaf) | Kind::Bools(leaf) | Kind::Nulls(leaf) | Kind::Text(leaf) => {
                    leaf
                }
                _ => return Err(differs(path, found(name, "labels")?, first)),
            };
            let feature = features.iter().find(|f| f.name == *name && f.kind == "ClassLabel");
            let class_names = feature.and_then(|feature| feature.names.clone());
            bound.label = Some(Label { leaf, kind: kind.clone(), class_names });
        }
        Ok(bound)
    }

    /// The leaf columns that are read.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> {
        let label = self.label.as_ref().map(|label| label.leaf);
        self.image.into_iter().chain(self.path).chain(label)
    }
}

/// The error of a column that is of another kind than in the first file.
pub(super) fn differs(path: &Path, column: &Column, first: &Path) -> DataError {
    let Column { name, kind } = column;
    let first = first.file_name().unwrap_or_default().to_string_lossy();
    let problem =
        format!("holds {} in its column `{name}`, which is not so in `{first}`", kind.words());
    table::fault(path, problem, "give only files of one kind")
}

/// The path of each row's image, and whether there is nothing at all in the row.
pub(super) fn read_paths(
    file: &File,
    group: usize,
) -> Result<(Vec<Option<String>>, Vec<bool>), ParquetError> {
    let Some(leaf) = file.columns.path else { return Ok((Vec::new(), Vec::new())) };
    let ColumnReader::ByteArrayColumnReader(reader) = reader(file, group, leaf)? else {
        return Ok((vec![None; file.rows(group)], vec![true; file.rows(group)]));
    };
    let leveled = leveled(reader, file, group, leaf)?;
    let present = file.columns.present;
    let absent = leveled.levels.iter().map(|&level| level < present).collect();
    let text = |bytes: ByteArray| String::from_utf8_lossy(bytes.data()).into_owned();
    let paths = leveled.into_options().into_iter().map(|path| path.map(text));
    Ok((paths.map(|path| path.filter(|path| !path.is_empty())).collect(), absent))
}

/// The first value of a leaf column of bytes among the first rows.
pub(super) fn first_value(file: &File, leaf: usize) -> Result<Option<Vec<u8>>, ParquetError> {
    if file.metadata.num_row_groups() == 0 {
        return Ok(None);
    }
    let levels = file.metadata.row_group(0).column(leaf).column_descr().max_def_level();
    let ColumnReader::ByteArrayColumnReader(mut reader) = reader(file, 0, leaf)? else {
        return Ok(None);
    };
    for _ in 0..file.rows(0).min(PEEKED) {
        let found = read_values(&mut reader, 1, levels)?;
        if let Some(Some(value)) = found.into_iter().next() {
            return Ok(Some(value.data().to_vec()));
        }
    }
    Ok(None)
}

pub(super) fn reader(file: &File, group: usize, leaf: usize) -> Result<ColumnReader, ParquetError> {
    let row_group = file.metadata.row_group(group);
    let chunk = row_group.column(leaf);
    let source = Arc::clone(&file.source);
    let pages = SerializedPageReader::new(source, chunk, file.rows(group), None)?;
    Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
}

pub(super) fn texts(
    reader: ColumnReaderImpl<ByteArrayType>,
    file: &File,
    group: usize,
    leaf: usize,
) -> Result<Vec<Option<String>>, ParquetError> {
    let text = |bytes: ByteArray| String::from_utf8_lossy(bytes.data()).into_owned();
    let values = values(reader, file, group, leaf)?;
    Ok(values.into_iter().map(|value| value.map(text)).collect())
}

/// All values of a column in a row group.
pub(super) fn values<T: DataType>(
    reader: ColumnReaderImpl<T>,
    file: &File,
    group: usize,
    leaf: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    leveled(reader, file, group, leaf).map(Leveled::into_options)
}

fn leveled<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    file: &File,
    group: usize,
    leaf: usize,
) -> Result<Leveled<T>, ParquetError> {
    let rows = file.rows(group);
    let levels = file.metadata.row_group(group).column(leaf).column_descr().max_def_level();
    let leveled = Leveled::read(&mut reader, rows, levels)?;
    if leveled.levels.len() != rows {
        let found = leveled.levels.len();
        return Err(ParquetError::General(format!("{found} values in a column of {rows} rows")));
    }
    Ok(leveled)
}

/// The next `rows` values; fewer if the column ends. `defined` is the level of a value that exists.
pub(super) fn read_values<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    defined: i16,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    Leveled::read(reader, rows, defined).map(Leveled::into_options)
}

/// Values of rows, with a definition level for each row.
struct Leveled<T: DataType> {
    levels: Vec<i16>,
    /// The values of the rows whose level is `defined`; rows of lower levels have none.
    values: Vec<T::T>,
    defined: i16,
}

impl<T: DataType> Leveled<T> {
    fn read(
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        defined: i16,
    ) -> Result<Leveled<T>, ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (_, _, count) = reader.read_records(rows, Some(&mut levels), None, &mut values)?;
        if defined == 0 {
            levels = vec![0; values.len()];
        }
        levels.truncate(count);
        Ok(Leveled { levels, values, defined })
    }

    fn into_options(self) -> Vec<Option<T::T>> {
        let mut values = self.values.into_iter();
        let value = |&level: &i16| if level == self.defined { values.next() } else { None };
        self.levels.iter().map(value).collect()
    }
}
