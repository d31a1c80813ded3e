//! Values with a shape.

use std::collections::BTreeMap;

/// A tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub data: Vec<f32>,
}

/// Tensors under their names.
pub type Named = BTreeMap<String, Values>;

/// Types of the values in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// Brain float.
    BF16,
    /// Whole numbers, which only counters have, and their size in bytes.
    Int {
        /// Bytes of a value: 1, 2, 4 or 8.
        bytes: usize,
        /// Whether it may be negative.
        signed: bool,
    },
    /// Truth values, a byte each.
    Bool,
}

impl Dtype {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F64 => 8,
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::Int { bytes, .. } => bytes,
            Dtype::Bool => 1,
        }
    }
}
