//! Named tensors and texts in one file, with a checksum over both.
//!
//! The format is safetensors. It is written here and not by the library because the library writes
//! the texts in a random order, and two equal states must give two equal files; it is read by the
//! library. The checksum, CRC-32C, stands among the texts: what a disk or a copy has changed since
//! is told from what was written.

use super::CheckpointError;
use crate::files::write_whole;
use burn::tensor::TensorData;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Name of the text that holds the checksum.
const CHECKSUM: &str = "checksum";
/// What the names of texts begin with that no file without a checksum has.
const LATER: &str = "moco.";
/// Tensors begin at a multiple of so many bytes.
const ALIGNMENT: usize = 8;

/// Texts by name.
pub(crate) type Texts = BTreeMap<String, String>;

/// A tensor's name, sizes and values on the host.
pub(crate) type NamedTensor = (String, Vec<usize>, TensorData);

/// A file in memory, whose structure and checksum were found right.
pub(crate) struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    texts: Texts,
}

/// Writes f32 tensors and texts: temporary name, sync, rename.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &[NamedTensor],
    mut texts: Texts,
) -> Result<(), CheckpointError> {
    let mut tensors: Vec<&NamedTensor> = tensors.iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let all =
        tensors.iter().map(|(name, shape, data)| (name.as_str(), &shape[..], data.as_bytes()));
    texts.insert(CHECKSUM.into(), checksum(&texts, all));
    let header = header(&tensors, &texts);
    write_with(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, _, data)| out.write_all(data.as_bytes()))
    })
}

fn header(tensors: &[&NamedTensor], texts: &Texts) -> String {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!(texts));
    let mut start = 0;
    for (name, shape, data) in tensors {
        let end = start + data.as_bytes().len();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        entries.insert(name.clone(), entry);
        start = end;
    }
    let mut header = Value::Object(entries).to_string();
    let padded = header.len().next_multiple_of(ALIGNMENT);
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header
}

/// CRC-32C over all texts and all tensors in the order of their names, each behind its length.
fn checksum<'a>(
    texts: &Texts,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>,
) -> String {
    let mut sum = 0;
    let mut feed = |bytes: &[u8]| {
        sum = crc32c::crc32c_append(sum, &(bytes.len() as u64).to_le_bytes());
        sum = crc32c::crc32c_append(sum, bytes);
    };
    for (name, text) in texts.iter().filter(|(name, _)| *name != CHECKSUM) {
        feed(name.as_bytes());
        feed(text.as_bytes());
    }
    for (name, shape, data) in tensors {
        let shape: Vec<u8> = shape.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
        feed(name.as_bytes());
        feed(&shape);
        feed(data);
    }
    format!("crc32c:{sum:08x}")
}

/// Puts `bytes` at `path` so that a reader, or a crash, sees either the old file or the new one.
///
/// # Errors
/// [`CheckpointError::Io`], which names the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_with(path, |out| out.write_all(bytes))
}

/// As [`write_atomically`], what `write` writes. Of a failed attempt nothing stays.
pub(crate) fn write_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    write_whole(path, write).map_err(|source| CheckpointError::Io {
        action: "write",
        path: path.into(),
        source,
    })
}

impl TensorFile {
    /// Reads a file and holds it against its checksum, if it has one.
    pub(crate) fn open(path: &Path) -> Result<TensorFile, CheckpointError> {
        let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        Self::of_bytes(path, bytes)
    }

    /// As [`TensorFile::open`], of what was read at `path`.
    pub(crate) fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<TensorFile, CheckpointError> {
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| malformed(path, error))?;
        let texts = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = TensorFile { path: path.into(), bytes, texts };
        match file.text(CHECKSUM) {
            Some(stated) if stated != file.checksum()? => {
                Err(malformed(path, "its contents do not match its checksum"))
            }
            None if file.texts.keys().any(|name| name.starts_with(LATER)) => {
                Err(malformed(path, "it lacks its checksum"))
            }
            _ => Ok(file),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The text called `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Whether there is a checksum; files of early versions have none.
    pub(crate) fn has_checksum(&self) -> bool {
        self.texts.contains_key(CHECKSUM)
    }

    pub(crate) fn tensors(&self) -> Result<SafeTensors<'_>, CheckpointError> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| malformed(&self.path, error))
    }

    fn checksum(&self) -> Result<String, CheckpointError> {
        let tensors = self.tensors()?;
        let mut views: Vec<_> = tensors.iter().collect();
        views.sort_by_key(|(name, _)| *name);
        let all = views.iter().map(|(name, view)| (*name, view.shape(), view.data()));
        Ok(checksum(&self.texts, all))
    }
}

/// The values of the tensor `name`, which must have `shape`.
pub(super) fn read_values(
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, String> {
    let view = tensors.tensor(name).map_err(|_| format!("it lacks the tensor `{name}`"))?;
    if view.shape() != shape || view.dtype() != Dtype::F32 {
        let found = (view.dtype(), view.shape());
        return Err(format!("`{name}` is {found:?}, expected (F32, {shape:?})"));
    }
    let values = view.data().chunks_exact(4);
    Ok(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// Refuses tensors that hold a value that is no number, infinite, or so large that its square is: the
/// next layer would make it infinite.
pub(crate) fn check_finite(path: &Path, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
    let finite = |(_, _, data): &&NamedTensor| {
        let sound = |value: &f32| (value * value).is_finite();
        data.as_slice::<f32>().is_ok_and(|values| values.iter().all(sound))
    };
    match tensors.iter().find(|tensor| !finite(tensor)) {
        Some((name, ..)) => {
            Err(CheckpointError::NotFinite { path: path.into(), tensor: name.clone() })
        }
        None => Ok(()),
    }
}

pub(super) fn malformed(path: &Path, reason: impl ToString) -> CheckpointError {
    CheckpointError::Malformed { path: path.into(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<NamedTensor> {
        let tensor = |name: &str, values: &[f32]| {
            (name.to_owned(), vec![values.len()], TensorData::new(values.to_vec(), [values.len()]))
        };
        vec![tensor("b", &[1.0, -2.5, 3e-8]), tensor("a.weight", &[0.0]), tensor("c", &[])]
    }

    fn texts() -> Texts {
        [("format", "moco"), ("note", "é \"quoted\"")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into()
    }

    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write_tensors(&path, &tensors(), texts()).unwrap();
        let bytes = fs::read(&path).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn a_file_comes_back_and_is_the_same_each_time() {
        let (_folder, path, bytes) = written();
        write_tensors(&path, &tensors(), texts()).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        let file = TensorFile::open(&path).unwrap();
        assert_eq!((file.text("note"), file.has_checksum()), (Some("é \"quoted\""), true));
        let values = read_values(&file.tensors().unwrap(), "b", &[3]).unwrap();
        assert_eq!(values, [1.0, -2.5, 3e-8]);
        assert!(!path.with_extension("tmp").exists());
    }

    /// Every bit of the file, of texts, names, sizes and values alike.
    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let (_folder, path, bytes) = written();
        for i in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[i / 8] ^= 1 << (i % 8);
            fs::write(&path, &changed).unwrap();
            let Ok(file) = TensorFile::open(&path) else { continue };
            // The one text without which a file counts as one of an early version; whoever reads
            // it knows by the format that it must be there.
            assert!(!file.has_checksum(), "bit {i} is not missed");
        }
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        let path = Path::new("x");
        assert!(check_finite(path, &tensors()).is_ok());
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e19, -1e30] {
            let bad = ("w".to_owned(), vec![2], TensorData::new(vec![1.0, value], [2]));
            let error = check_finite(path, &[tensors(), vec![bad]].concat()).unwrap_err();
            assert!(error.to_string().contains("`w`"), "{error}");
        }
    }
}
