//! Parquet: `path`, `class` if there are classes, and `embedding`, a list of f32.

use super::{Table, WriteSend};
use anyhow::anyhow;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// Images per row group: some 100 MB at 2048 values each.
const GROUP: usize = 16_384;

/// Writes the whole table.
pub fn write(table: &Table, file: &mut dyn WriteSend) -> anyhow::Result<()> {
    write_groups(table, file).map_err(|error| match error.downcast() {
        // The system's reason without the library's word for where it comes from.
        Ok(ParquetError::External(reason)) => anyhow!(reason),
        Ok(other) => other.into(),
        Err(other) => other,
    })
}

fn write_groups(table: &Table, file: &mut dyn WriteSend) -> anyhow::Result<()> {
    let classes = table.classes();
    let class = if classes.is_some() { "required binary class (UTF8);" } else { "" };
    let schema = format!(
        "message embeddings {{
            required binary path (UTF8);
            {class}
            required group embedding (LIST) {{ repeated group list {{ required float element; }} }}
        }}"
    );
    let schema = Arc::new(parse_message_type(&schema)?);
    // A dictionary of floats that are all different would only cost.
    let properties = WriterProperties::builder()
        .set_column_dictionary_enabled("embedding.list.element".into(), false)
        .build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;

    let paths: Vec<&str> = table.paths().collect();
    let dim = table.features.dim;
    for start in (0..paths.len()).step_by(GROUP) {
        let rows = start..(start + GROUP).min(paths.len());
        let mut group = writer.next_row_group()?;
        texts(&mut group, &paths[rows.clone()])?;
        if let Some(classes) = &classes {
            texts(&mut group, &classes[rows.clone()])?;
        }
        let values = &table.features.values[rows.start * dim..rows.end * dim];
        // Each value is there (level 1); the first of a vector opens a new list (level 0).
        let present = vec![1; values.len()];
        let position: Vec<i16> = (0..values.len()).map(|i| i16::from(i % dim != 0)).collect();
        column::<FloatType>(&mut group, values, Some((&present, &position)))?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

type Group<'a, 'b> = SerializedRowGroupWriter<'a, &'b mut dyn WriteSend>;

fn texts(group: &mut Group, texts: &[&str]) -> anyhow::Result<()> {
    let texts: Vec<ByteArray> = texts.iter().map(|&text| ByteArray::from(text)).collect();
    column::<ByteArrayType>(group, &texts, None)
}

/// Writes the next column of a group, with definition and repetition levels if it has any.
fn column<T: DataType>(
    group: &mut Group,
    values: &[T::T],
    levels: Option<(&[i16], &[i16])>,
) -> anyhow::Result<()> {
    let (definition, repetition) = levels.unzip();
    if let Some(mut writer) = group.next_column()? {
        writer.typed::<T>().write_batch(values, definition, repetition)?;
        writer.close()?;
    }
    Ok(())
}
