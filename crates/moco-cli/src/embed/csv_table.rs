//! CSV: `path`, `class` if there are classes, and the values as `f0`, `f1`, and so on.

use super::{Table, WriteSend};

/// Writes the whole table.
pub fn write(table: &Table, file: &mut dyn WriteSend) -> anyhow::Result<()> {
    write_columns(table, file, true)
}

/// Writes the paths and classes alone, in the order of the rows of a matrix beside it.
pub fn write_paths(table: &Table, file: &mut dyn WriteSend) -> anyhow::Result<()> {
    write_columns(table, file, false)
}

fn write_columns(table: &Table, file: &mut dyn WriteSend, with_values: bool) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(file);
    let classes = table.classes();
    writer.write_field("path")?;
    if classes.is_some() {
        writer.write_field("class")?;
    }
    let values = if with_values { table.features.dim } else { 0 };
    for i in 0..values {
        writer.write_field(format!("f{i}"))?;
    }
    writer.write_record(None::<&[u8]>)?;

    for (row, (path, vector)) in table.paths().zip(table.rows()).enumerate() {
        writer.write_field(path)?;
        if let Some(classes) = &classes {
            writer.write_field(classes[row])?;
        }
        for value in &vector[..values] {
            writer.write_field(value.to_string())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(writer.flush()?)
}
