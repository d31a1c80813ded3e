//! Full-state checkpoints.
//!
//! One file holds everything that a run needs to go on bit for bit: every tensor and counter of
//! the method (both encoders with BatchNorm statistics, queue and pointer) and of the optimiser,
//! the step, the configuration and the data set's fingerprint. There is no random-generator state
//! in it because there is none to save: see [`crate::rng`]. The data order is a function of seed
//! and epoch, so the step determines it.
//!
//! The file is safetensors with a JSON object under the metadata key `moco`. It is written under a
//! temporary name, synced, then renamed: a file under its final name is always whole.

use crate::nn::{Leaf, Module, for_each_leaf};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Format that this version writes and reads.
const FORMAT: u32 = 2;
const METADATA_KEY: &str = "moco";

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, e.g. "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a checkpoint of this program, or is cut short.
    #[error("{} is not a readable checkpoint ({reason}); delete it to fall back to the one before", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a version with another format.
    #[error("{} has checkpoint format {found}, this program reads format {FORMAT}; use the version of moco that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u32,
    },
    /// The state does not fit the network that the configuration describes.
    #[error("{} does not fit its configuration: {reason}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// First tensor that does not fit, and how.
        reason: String,
    },
}

/// What a checkpoint knows besides tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Steps finished.
    pub step: usize,
    /// Sum of the losses of the unfinished epoch's steps.
    pub epoch_loss: f64,
    /// The run's `config.toml`.
    pub config: String,
    /// Fingerprint of the data set.
    pub data_fingerprint: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    #[serde(flatten)]
    meta: Meta,
    counters: BTreeMap<String, u64>,
}

/// Writes the state of `parts`, each under its name, and `meta`.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save(
    path: &Path,
    parts: &mut [(&str, &mut dyn Module)],
    meta: &Meta,
) -> Result<(), CheckpointError> {
    let mut state = State::default();
    for (part, module) in parts {
        state.collect(part, *module);
    }
    let header = Header { format: FORMAT, meta: meta.clone(), counters: state.counters };
    let header = serde_json::to_string(&header).expect("plain data serialises");
    write_tensors(path, &state.tensors, HashMap::from([(METADATA_KEY.to_string(), header)]))
}

/// Reads what a checkpoint says about itself, without its tensors' values.
///
/// # Errors
/// Any but [`CheckpointError::Mismatch`].
pub fn read_meta(path: &Path) -> Result<Meta, CheckpointError> {
    Ok(read_header(path, &read_file(path)?)?.meta)
}

/// Restores the state of `parts` that [`save`] wrote.
///
/// # Errors
/// Any [`CheckpointError`]; after an error `parts` may be half restored.
pub fn load(
    path: &Path,
    parts: &mut [(&str, &mut dyn Module)],
    device: &Device,
) -> Result<Meta, CheckpointError> {
    let bytes = read_file(path)?;
    let header = read_header(path, &bytes)?;
    let tensors = parse(path, &bytes)?;
    for (part, module) in parts {
        restore(path, part, *module, &tensors, Some(&header.counters), device)?;
    }
    Ok(header.meta)
}

/// A tensor's name, sizes and values on the host.
pub(crate) type NamedTensor = (String, Vec<usize>, TensorData);

/// Host copies of a module's state.
#[derive(Default)]
struct State {
    tensors: Vec<NamedTensor>,
    counters: BTreeMap<String, u64>,
}

impl State {
    fn collect(&mut self, part: &str, module: &mut dyn Module) {
        for_each_leaf(module, |name, leaf| {
            let name = format!("{part}.{name}");
            match leaf {
                Leaf::Param(tensor) | Leaf::Buffer(tensor) => {
                    self.tensors.push((name, tensor.shape(), tensor.flat().into_data()));
                }
                Leaf::Counter(value) => {
                    self.counters.insert(name, *value);
                }
            }
        });
    }
}

/// Host copies of a module's tensors under plain names.
pub(crate) fn host_tensors(module: &mut dyn Module) -> Vec<NamedTensor> {
    let mut tensors = Vec::new();
    for_each_leaf(module, |name, leaf| {
        if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf {
            tensors.push((name.to_string(), tensor.shape(), tensor.flat().into_data()));
        }
    });
    tensors
}

/// Writes f32 tensors and metadata as safetensors: temporary name, sync, rename.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: HashMap<String, String>,
) -> Result<(), CheckpointError> {
    let views = tensors.iter().map(|(name, shape, data)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data.as_bytes());
        (name, view.expect("f32 values of the stated shape"))
    });
    let bytes = safetensors::serialize(views, Some(metadata)).expect("views of a valid shape");
    write_atomically(path, &bytes)
}

/// Puts `bytes` at `path` so that a reader, or a crash, sees either the old file or the new one.
///
/// # Errors
/// [`CheckpointError::Io`], which names the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| CheckpointError::Io { action: "write", path: path.into(), source })
}

/// Restores a module from a file of plain names, e.g. `encoder.safetensors`, which holds tensors
/// only: counters stay as they are.
pub(crate) fn load_plain(
    path: &Path,
    module: &mut dyn Module,
    device: &Device,
) -> Result<(), CheckpointError> {
    let bytes = read_file(path)?;
    restore(path, "", module, &parse(path, &bytes)?, None, device)
}

fn read_file(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    fs::read(path).map_err(|source| CheckpointError::Io {
        action: "read",
        path: path.into(),
        source,
    })
}

fn malformed(path: &Path, reason: impl ToString) -> CheckpointError {
    CheckpointError::Malformed { path: path.into(), reason: reason.to_string() }
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, CheckpointError> {
    SafeTensors::deserialize(bytes).map_err(|error| malformed(path, error))
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<Header, CheckpointError> {
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| malformed(path, error))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let json = metadata.get(METADATA_KEY).ok_or_else(|| malformed(path, "no run state in it"))?;
    let format: FormatOnly = serde_json::from_str(json).map_err(|error| malformed(path, error))?;
    if format.format != FORMAT {
        return Err(CheckpointError::Format { path: path.into(), found: format.format });
    }
    serde_json::from_str(json).map_err(|error| malformed(path, error))
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

fn restore(
    path: &Path,
    part: &str,
    module: &mut dyn Module,
    tensors: &SafeTensors<'_>,
    counters: Option<&BTreeMap<String, u64>>,
    device: &Device,
) -> Result<(), CheckpointError> {
    let mut problem = None;
    for_each_leaf(module, |name, leaf| {
        let name = if part.is_empty() { name.to_string() } else { format!("{part}.{name}") };
        let result = match leaf {
            Leaf::Param(tensor) | Leaf::Buffer(tensor) => {
                read_values(tensors, &name, &tensor.shape())
                    .map(|values| tensor.set_flat(Tensor::from_data(values.as_slice(), device)))
            }
            Leaf::Counter(value) => counters.map_or(Ok(()), |counters| {
                let saved = counters.get(&name);
                saved
                    .map(|saved| *value = *saved)
                    .ok_or_else(|| format!("it lacks the counter `{name}`"))
            }),
        };
        if let Err(reason) = result {
            problem.get_or_insert(reason);
        }
    });
    match problem {
        None => Ok(()),
        Some(reason) => Err(CheckpointError::Mismatch { path: path.into(), reason }),
    }
}

fn read_values(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let view = tensors.tensor(name).map_err(|_| format!("it lacks the tensor `{name}`"))?;
    if view.shape() != shape || view.dtype() != Dtype::F32 {
        let found = (view.dtype(), view.shape());
        return Err(format!("`{name}` is {found:?}, expected (F32, {shape:?})"));
    }
    let values = view.data().chunks_exact(4);
    Ok(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::Buffer;

    struct Part {
        tensor: Buffer<1>,
        counter: u64,
    }

    crate::module!(Part { tensor, counter });

    #[test]
    fn plain_files_fill_tensors_and_leave_counters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plain.safetensors");
        let device = Device::flex();
        let part = |value: f32, counter| Part {
            tensor: Buffer::new(Tensor::from_data([value, 1.0], &device)),
            counter,
        };
        write_tensors(&path, &host_tensors(&mut part(5.0, 7)), HashMap::new()).unwrap();
        let mut loaded = part(0.0, 3);
        load_plain(&path, &mut loaded, &device).unwrap();
        assert_eq!((to_host(loaded.tensor.val()), loaded.counter), (vec![5.0, 1.0], 3));
    }
}
