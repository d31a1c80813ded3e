//! Which columns hold images, paths and labels, and the values of the small ones.

use super::File;
use crate::source::listing::{LabelCollector, Labels};
use ::parquet::basic::{LogicalType, Type as Physical};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::FileMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;
use ::parquet::schema::types::ColumnDescriptor;
use serde_json::Value;
use std::sync::Arc;

/// Names of columns of images, if Hugging Face's features do not tell.
const IMAGE_NAMES: [&str; 5] = ["image", "img", "jpg", "png", "bytes"];
/// Names of columns of labels, likewise; of several, the first.
const LABEL_NAMES: [&str; 6] = ["label", "labels", "fine_label", "cls", "class", "target"];

/// Leaf columns by number.
pub(super) struct Columns {
    pub image: usize,
    path: Option<usize>,
    label: Option<usize>,
    /// What the labels count, if the file says.
    pub class_names: Option<Vec<String>>,
}

/// Labels of all rows so far, as they are in the file.
pub(super) enum LabelValues {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

impl Default for LabelValues {
    fn default() -> LabelValues {
        LabelValues::Numbers(Vec::new())
    }
}

impl LabelValues {
    fn into_texts(self) -> Vec<Option<String>> {
        match self {
            LabelValues::Texts(texts) => texts,
            LabelValues::Numbers(numbers) => numbers
                .into_iter()
                .map(|number| number.filter(|&label| label >= 0).map(|label| label.to_string()))
                .collect(),
        }
    }

    /// Classes named after the values.
    pub(super) fn into_labels(self) -> Labels {
        let mut collected = LabelCollector::default();
        for text in self.into_texts() {
            collected.push(text.as_deref());
        }
        collected.finish()
    }

    fn extend(&mut self, more: LabelValues) {
        match (&mut *self, more) {
            (LabelValues::Numbers(all), LabelValues::Numbers(more)) => all.extend(more),
            (LabelValues::Texts(all), more) => all.extend(more.into_texts()),
            (LabelValues::Numbers(_), more) => {
                let mut texts = std::mem::take(self).into_texts();
                texts.extend(more.into_texts());
                *self = LabelValues::Texts(texts);
            }
        }
    }
}

impl Columns {
    /// By the features that Hugging Face's library writes into the file, else by name.
    pub(super) fn find(metadata: &FileMetaData) -> Result<Columns, ParquetError> {
        let schema = metadata.schema_descr();
        let features = features(metadata);
        let flat = |column: &ColumnDescriptor| column.max_rep_level() == 0;
        let leaf = |parts: &[&str]| {
            schema
                .columns()
                .iter()
                .position(|column| flat(column) && column.path().parts() == parts)
        };
        let image_leaf = |name: &str| {
            let at = leaf(&[name, "bytes"]).or_else(|| leaf(&[name]))?;
            let is_bytes = schema.column(at).physical_type() == Physical::BYTE_ARRAY;
            (is_bytes && !is_text(&schema.column(at))).then_some((name.to_string(), at))
        };
        let of_type = |kind: &str| features.iter().find(|f| f.kind == kind).map(|f| &*f.name);
        let any_struct = || {
            schema.columns().iter().find_map(|column| match column.path().parts() {
                [name, bytes] if bytes == "bytes" => image_leaf(name),
                _ => None,
            })
        };
        let image = of_type("Image").and_then(image_leaf);
        let image = image.or_else(|| IMAGE_NAMES.iter().find_map(|name| image_leaf(name)));
        let Some((name, image)) = image.or_else(any_struct) else {
            return Err(ParquetError::General(
                "it has no column of images, a struct of bytes and path as Hugging Face writes it"
                    .into(),
            ));
        };
        let label_name = of_type("ClassLabel")
            .filter(|name| leaf(&[name]).is_some())
            .or_else(|| LABEL_NAMES.into_iter().find(|name| leaf(&[name]).is_some()));
        let class_names = features.iter().find(|f| Some(&*f.name) == label_name);
        Ok(Columns {
            image,
            path: leaf(&[&name, "path"]),
            label: label_name.and_then(|name| leaf(&[name])),
            class_names: class_names.and_then(|feature| feature.names.clone()),
        })
    }
}

/// Whether a column of bytes says that it is text, such as a path.
fn is_text(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::String))
}

/// A column as Hugging Face describes it.
struct Feature {
    name: String,
    kind: String,
    names: Option<Vec<String>>,
}

fn features(metadata: &FileMetaData) -> Vec<Feature> {
    let pairs = metadata.key_value_metadata().into_iter().flatten();
    let text = pairs.filter(|pair| pair.key == "huggingface").find_map(|pair| pair.value.as_ref());
    let object: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let Some(features) = object["info"]["features"].as_object() else { return Vec::new() };
    let feature = |(name, value): (&String, &Value)| {
        let names = value["names"].as_array().map(|names| {
            names.iter().map(|name| name.as_str().unwrap_or_default().to_string()).collect()
        });
        let kind = value["_type"].as_str()?.to_string();
        Some(Feature { name: name.clone(), kind, names })
    };
    features.iter().filter_map(feature).collect()
}

/// The path of each row's image; empty if the file has none.
pub(super) fn read_paths(file: &File, group: usize) -> Result<Vec<Option<String>>, ParquetError> {
    let Some(column) = file.columns.path else { return Ok(Vec::new()) };
    match column_reader(file, group, column)? {
        ColumnReader::ByteArrayColumnReader(reader) => texts(reader, file, group, column),
        _ => Ok(Vec::new()),
    }
}

/// Adds the label of each row.
pub(super) fn read_labels(
    file: &File,
    group: usize,
    labels: &mut LabelValues,
) -> Result<(), ParquetError> {
    let none = || LabelValues::Numbers(vec![None; file.rows(group)]);
    let Some(column) = file.columns.label else {
        labels.extend(none());
        return Ok(());
    };
    labels.extend(match column_reader(file, group, column)? {
        ColumnReader::Int32ColumnReader(reader) => {
            let values = values(reader, file, group, column)?;
            LabelValues::Numbers(values.into_iter().map(|value| value.map(i64::from)).collect())
        }
        ColumnReader::Int64ColumnReader(reader) => {
            LabelValues::Numbers(values(reader, file, group, column)?)
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            LabelValues::Texts(texts(reader, file, group, column)?)
        }
        _ => none(),
    });
    Ok(())
}

fn column_reader(file: &File, group: usize, column: usize) -> Result<ColumnReader, ParquetError> {
    let row_group = file.metadata.row_group(group);
    let chunk = row_group.column(column);
    let source = Arc::clone(&file.source);
    let pages = SerializedPageReader::new(source, chunk, file.rows(group), None)?;
    Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
}

fn texts(
    reader: ColumnReaderImpl<::parquet::data_type::ByteArrayType>,
    file: &File,
    group: usize,
    column: usize,
) -> Result<Vec<Option<String>>, ParquetError> {
    let text = |bytes: ByteArray| String::from_utf8_lossy(bytes.data()).into_owned();
    let values = values(reader, file, group, column)?;
    Ok(values.into_iter().map(|value| value.map(text)).collect())
}

/// All values of a column in a row group.
fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    file: &File,
    group: usize,
    column: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let rows = file.rows(group);
    let levels = file.metadata.row_group(group).column(column).column_descr().max_def_level();
    let values = read_values(&mut reader, rows, levels)?;
    if values.len() != rows {
        let found = values.len();
        return Err(ParquetError::General(format!("{found} values in a column of {rows} rows")));
    }
    Ok(values)
}

/// The next `rows` values; fewer if the column ends. `levels` is the level of a value that exists.
pub(super) fn read_values<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    levels: i16,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut defined, mut values) = (Vec::new(), Vec::new());
    let (_, _, count) = reader.read_records(rows, Some(&mut defined), None, &mut values)?;
    let mut values = values.into_iter();
    if levels == 0 {
        return Ok(values.map(Some).collect());
    }
    let value = |&level: &i16| if level == levels { values.next() } else { None };
    Ok(defined.iter().take(count).map(value).collect())
}
