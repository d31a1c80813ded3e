//! NumPy: a matrix `[images, values]` of f32.

use super::{Table, WriteSend};
use npyz::WriterBuilder;

/// Writes the matrix.
pub fn write(table: &Table, file: &mut dyn WriteSend) -> anyhow::Result<()> {
    let shape = [table.features.len() as u64, table.features.dim as u64];
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
    writer.extend(table.features.values.iter().copied())?;
    Ok(writer.finish()?)
}
