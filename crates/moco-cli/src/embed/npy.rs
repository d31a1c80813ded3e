//! NumPy: a matrix `[images, values]` of f32.

use super::{Table, WriteSend};

/// Writes the matrix: format 1.0 of NumPy's NEP 1, in little-endian rows.
pub fn write(table: &Table, file: &mut dyn WriteSend) -> anyhow::Result<()> {
    file.write_all(&header([table.features.len(), table.features.dim]))?;
    for value in &table.features.values {
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// Everything before the values: magic bytes, the format's version, the length of what follows, and a Python
/// literal that says what they are, padded so that the values begin at a multiple of 64 bytes.
fn header([rows, columns]: [usize; 2]) -> Vec<u8> {
    let shape = format!("({rows}, {columns})");
    let mut literal = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let before = b"\x93NUMPY\x01\x00".len() + size_of::<u16>();
    let padded = (before + literal.len() + 1).next_multiple_of(64) - before;
    literal.extend(std::iter::repeat_n(' ', padded - 1 - literal.len()));
    literal.push('\n');
    let length = u16::try_from(padded).expect("two numbers have few digits");
    [&b"\x93NUMPY\x01\x00"[..], &length.to_le_bytes(), literal.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `np.lib.format.write_array` of NumPy 2 writes these bytes for `np.zeros((40, 32), np.float32)`.
    #[test]
    fn the_header_is_numpys() {
        let literal = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 32), }";
        let expected = format!("\x76\0{literal:<117}\n");
        let found = header([40, 32]);
        assert_eq!(found[..8], *b"\x93NUMPY\x01\x00");
        assert_eq!(found[8..], *expected.as_bytes());
        for shape in [[0, 0], [1 << 40, 1], [usize::MAX; 2]] {
            assert_eq!(header(shape).len() % 64, 0);
        }
    }
}
