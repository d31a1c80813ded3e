//! What a file holds.

use super::bytes::{Bytes, floats};
use crate::error::{Result, WeightsError};
use crate::tensor::{Dtype, Values};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest tensor that is read, in values: 2^32, sixteen gigabytes.
const MOST_VALUES: u64 = 1 << 32;

/// The tensors of a file under the file's own names, with a dot between the keys of nested
/// dictionaries, and what stands beside them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The file or folder.
    pub path: PathBuf,
    /// Its format in words.
    pub format: String,
    /// Tensors by name. Their values lie in the file until [`Tensor::read`].
    pub tensors: BTreeMap<String, Tensor>,
    /// What was not read, and why.
    pub skipped: Vec<Skipped>,
    /// Texts and numbers beside the tensors, such as `epoch` and `arch`, by name.
    pub metadata: BTreeMap<String, String>,
    /// The `config.json` beside the weights.
    pub config: Option<serde_json::Value>,
    /// The `preprocessor_config.json` beside the weights.
    pub preprocessor: Option<serde_json::Value>,
}

impl Checkpoint {
    /// One that holds nothing yet.
    pub(super) fn new(path: &Path, format: &str) -> Checkpoint {
        Checkpoint {
            path: path.to_owned(),
            format: format.to_owned(),
            tensors: BTreeMap::new(),
            skipped: Vec::new(),
            metadata: BTreeMap::new(),
            config: None,
            preprocessor: None,
        }
    }
}

/// A value of a file that is no tensor that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// What it is, such as `an object of the class lib.NCEAverage.NCEAverage`.
    pub what: String,
}

/// A tensor whose values lie in a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Type of the values in the file.
    pub dtype: Dtype,
    /// Where the values are.
    pub(super) place: Place,
}

/// Where a tensor's values are: a view of a range of bytes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub bytes: Arc<Bytes>,
    /// The first byte of the storage.
    pub start: u64,
    /// The view's first value within the storage.
    pub first: u64,
    /// Values from one index to the next, per axis; row by row without gaps if there are none.
    pub strides: Option<Vec<u64>>,
    /// Checksum of the bytes, where they are all that it is of.
    pub crc32: Option<u32>,
}

impl Tensor {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Reads the values, as 32-bit floats: f64 and whole numbers are rounded, others are exact.
    ///
    /// # Errors
    /// [`WeightsError::Io`], [`WeightsError::Damaged`], [`WeightsError::TooLarge`].
    pub fn read(&self, name: &str) -> Result<Values> {
        let size = self.dtype.bytes() as u64;
        if self.count() > MOST_VALUES {
            let path = self.place.bytes.path().to_owned();
            let (name, bytes) = (name.to_owned(), self.count().saturating_mul(size));
            return Err(WeightsError::TooLarge { path, name, bytes });
        }
        let data = match &self.place.strides {
            None => {
                let start = self.place.start + self.place.first * size;
                let bytes = self.place.bytes.read(start, self.count() * size)?;
                if self.place.crc32.is_some_and(|crc32| crc32 != crc32fast::hash(&bytes)) {
                    let reason = format!("the values of `{name}` differ from their checksum");
                    return Err(self.place.bytes.damaged(reason));
                }
                floats(&bytes, self.dtype)
            }
            Some(strides) => self.gather(strides)?,
        };
        Ok(Values { shape: self.shape.clone(), data })
    }

    /// The values of a view with gaps, or in another order than they lie in.
    fn gather(&self, strides: &[u64]) -> Result<Vec<f32>> {
        let size = self.dtype.bytes() as u64;
        if self.count() == 0 {
            return Ok(Vec::new());
        }
        let reach: u64 = self.shape.iter().zip(strides).map(|(&n, s)| (n as u64 - 1) * s).sum();
        let start = self.place.start + self.place.first * size;
        let span = floats(&self.place.bytes.read(start, (reach + 1) * size)?, self.dtype);
        let mut index = vec![0; self.shape.len()];
        let mut data = Vec::with_capacity(self.count() as usize);
        let mut at = 0;
        for _ in 0..self.count() {
            data.push(span[at as usize]);
            for axis in (0..self.shape.len()).rev() {
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= strides[axis] * self.shape[axis] as u64;
                index[axis] = 0;
            }
        }
        Ok(data)
    }
}
