//! Safetensors: a header of JSON, then the values.

use super::Tensor;
use super::bytes::Bytes;
use super::checkpoint::{Checkpoint, Place, Skipped};
use crate::error::Result;
use crate::tensor::Dtype;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest header that is read, the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads the file's header.
pub(super) fn read(bytes: Arc<Bytes>) -> Result<Checkpoint> {
    let length = bytes.read(0, 8)?;
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    let room = bytes.length() - 8;
    if length > room.min(LONGEST_HEADER) {
        return Err(
            bytes.damaged(format!("its header is said to have {length} bytes, and {room} follow"))
        );
    }
    let header = bytes.read(8, length)?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header)
        .map_err(|error| bytes.damaged(format!("its header is not as the format asks: {error}")))?;
    let mut checkpoint = Checkpoint::new(bytes.path(), "safetensors");
    for (name, value) in header {
        if name == "__metadata__" {
            let texts = BTreeMap::<String, String>::deserialize(value);
            checkpoint.metadata = texts.map_err(|error| bytes.damaged(error.to_string()))?;
            continue;
        }
        let entry = Entry::deserialize(value)
            .map_err(|error| bytes.damaged(format!("of `{name}`: {error}")))?;
        match dtype(&entry.dtype) {
            Some(dtype) => {
                let tensor = tensor(&bytes, 8 + length, &name, &entry, dtype)?;
                checkpoint.tensors.insert(name, tensor);
            }
            None => {
                let what = format!("a tensor of the type {}", entry.dtype);
                checkpoint.skipped.push(Skipped { name, what });
            }
        }
    }
    Ok(checkpoint)
}

fn tensor(
    bytes: &Arc<Bytes>,
    values: u64,
    name: &str,
    entry: &Entry,
    dtype: Dtype,
) -> Result<Tensor> {
    let [begin, end] = entry.data_offsets;
    let size = dtype.bytes() as u64;
    let count = entry.shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side));
    let needed = count.and_then(|count| count.checked_mul(size));
    if end < begin || needed != Some(end - begin) {
        return Err(bytes.damaged(format!(
            "`{name}` has a shape of {:?} over {} bytes",
            entry.shape,
            end.saturating_sub(begin)
        )));
    }
    if values.checked_add(end).is_none_or(|end| end > bytes.length()) {
        return Err(bytes.damaged(format!("it ends before the values of `{name}` do")));
    }
    let (bytes, start) = (Arc::clone(bytes), values + begin);
    let place = Place { bytes, start, first: 0, strides: None, crc32: None };
    let shape = entry.shape.iter().map(|&side| side as usize).collect();
    Ok(Tensor { shape, dtype, place })
}

fn dtype(name: &str) -> Option<Dtype> {
    let int = |bytes, signed| Some(Dtype::Int { bytes, signed });
    match name {
        "F64" => Some(Dtype::F64),
        "F32" => Some(Dtype::F32),
        "F16" => Some(Dtype::F16),
        "BF16" => Some(Dtype::BF16),
        "I64" => int(8, true),
        "I32" => int(4, true),
        "I16" => int(2, true),
        "I8" => int(1, true),
        "U64" => int(8, false),
        "U32" => int(4, false),
        "U16" => int(2, false),
        "U8" => int(1, false),
        "BOOL" => Some(Dtype::Bool),
        _ => None,
    }
}
