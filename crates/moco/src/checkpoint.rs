//! Full-state checkpoints.
//!
//! One file holds everything that a run needs to go on bit for bit: every tensor and counter of
//! the method (both encoders with BatchNorm statistics, queue and pointer) and of the optimiser,
//! the step, the configuration and the data set's fingerprint. There is no random-generator state
//! in it because there is none to save: see [`crate::rng`]. The data order is a function of seed
//! and epoch, so the step determines it.
//!
//! The file is safetensors with a JSON object under the metadata key `moco` and a checksum over
//! all of it. It is written under a temporary name, synced, then renamed: a file under its final
//! name is always whole, and one that was changed later is told.

mod file;

pub use file::write_atomically;
pub(crate) use file::{NamedTensor, TensorFile, Texts, check_finite, write_tensors, write_with};

use crate::nn::{Leaf, Module, for_each_leaf};
use burn::tensor::{Device, Tensor, TensorData};
use file::{malformed, read_values};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Format that this version writes. It reads the one before as well, which has no checksum.
const FORMAT: u32 = 3;
const FORMAT_WITHOUT_CHECKSUM: u32 = 2;
const METADATA_KEY: &str = "moco";
/// For people: nothing is decided by it.
const VERSION_KEY: &str = "moco.version";

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
    /// The file is not one of this program, is cut short, or was changed.
    #[error("{} is damaged ({reason})", path.display())]
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
    /// A tensor holds a value that is no number, infinite, or so large that its square is infinite.
    #[error("`{tensor}` in {} holds values that are no finite numbers, or too large to compute with: train again with a lower optim.lr", path.display())]
    NotFinite {
        /// The file that was to be written or was read.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
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
    #[serde(with = "exact")]
    pub epoch_loss: f64,
    /// The run's `config.toml`.
    pub config: String,
    /// Fingerprint of the data set.
    pub data_fingerprint: u64,
}

/// A number by its bits: read as decimals, the last one may differ from what was written.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bits(String),
        /// As early versions wrote it.
        Decimals(f64),
    }

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:016x}", value.to_bits()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Bits(bits) => {
                u64::from_str_radix(&bits, 16).map(f64::from_bits).map_err(D::Error::custom)
            }
            Written::Decimals(value) => Ok(value),
        }
    }
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
/// [`CheckpointError::NotFinite`] before anything is written, and [`CheckpointError::Io`].
pub fn save(
    path: &Path,
    parts: &mut [(&str, &mut dyn Module)],
    meta: &Meta,
) -> Result<(), CheckpointError> {
    let mut state = State::default();
    for (part, module) in parts {
        state.collect(part, *module);
    }
    check_finite(path, &state.tensors)?;
    let header = Header { format: FORMAT, meta: meta.clone(), counters: state.counters };
    let header = serde_json::to_string(&header).expect("plain data serialises");
    let texts = [(METADATA_KEY, header), (VERSION_KEY, env!("CARGO_PKG_VERSION").to_owned())];
    write_tensors(path, &state.tensors, texts.map(|(key, text)| (key.to_owned(), text)).into())
}

/// A checkpoint in memory, found whole.
pub struct Checkpoint {
    file: TensorFile,
    header: Header,
}

impl Checkpoint {
    /// Reads the checkpoint at `path` and verifies its checksum.
    ///
    /// # Errors
    /// Any but [`CheckpointError::Mismatch`] and [`CheckpointError::NotFinite`].
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        Self::of_file(TensorFile::open(path)?)
    }

    /// As [`Checkpoint::open`], of the bytes that were read at `path`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        Self::of_file(TensorFile::of_bytes(path, bytes)?)
    }

    fn of_file(file: TensorFile) -> Result<Checkpoint, CheckpointError> {
        let header = read_header(&file)?;
        Ok(Checkpoint { file, header })
    }

    /// The file as it was read.
    pub fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What it says about itself.
    pub fn meta(&self) -> &Meta {
        &self.header.meta
    }

    /// Whether it could be verified; a checkpoint of an early version has no checksum.
    pub fn is_verified(&self) -> bool {
        self.file.has_checksum()
    }

    /// Host copies of the tensors of one of the parts that [`save`] was given, under their names
    /// within it.
    pub(crate) fn part(&self, part: &str) -> Result<Vec<NamedTensor>, CheckpointError> {
        let tensors = self.file.tensors()?;
        let mut found: Vec<NamedTensor> = Vec::new();
        for (name, view) in tensors.iter() {
            let Some(name) = name.strip_prefix(part).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let values = read_values(&tensors, &format!("{part}.{name}"), view.shape())
                .map_err(|reason| malformed(self.path(), reason))?;
            let data = TensorData::new(values, [view.shape().iter().product::<usize>()]);
            found.push((name.to_owned(), view.shape().to_vec(), data));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Gives `parts` the state that [`save`] wrote.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`]; then `parts` may be half restored.
    pub fn restore(
        &self,
        parts: &mut [(&str, &mut dyn Module)],
        device: &Device,
    ) -> Result<(), CheckpointError> {
        let tensors = self.file.tensors()?;
        for (part, module) in parts {
            let counters = Some(&self.header.counters);
            restore(self.path(), part, *module, &tensors, counters, device)?;
        }
        Ok(())
    }
}

/// Restores the state of `parts` from the checkpoint at `path`.
///
/// # Errors
/// As [`Checkpoint::open`] and [`Checkpoint::restore`].
pub fn load(
    path: &Path,
    parts: &mut [(&str, &mut dyn Module)],
    device: &Device,
) -> Result<Meta, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.restore(parts, device)?;
    Ok(checkpoint.header.meta)
}

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

/// Restores a module from a file of plain names, e.g. `encoder.safetensors`, which holds tensors
/// only: counters stay as they are. Values that are no finite numbers are refused.
pub(crate) fn load_plain(
    path: &Path,
    module: &mut dyn Module,
    device: &Device,
) -> Result<(), CheckpointError> {
    let file = TensorFile::open(path)?;
    restore(path, "", module, &file.tensors()?, None, device)?;
    check_finite(path, &host_tensors(module))
}

fn read_header(file: &TensorFile) -> Result<Header, CheckpointError> {
    let path = file.path();
    let json = file.text(METADATA_KEY).ok_or_else(|| malformed(path, "no run state in it"))?;
    let format: FormatOnly = serde_json::from_str(json).map_err(|error| malformed(path, error))?;
    match format.format {
        FORMAT if !file.has_checksum() => return Err(malformed(path, "it lacks its checksum")),
        FORMAT | FORMAT_WITHOUT_CHECKSUM => {}
        found => return Err(CheckpointError::Format { path: path.into(), found }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::Buffer;
    use std::collections::HashMap;

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
        write_tensors(&path, &host_tensors(&mut part(5.0, 7)), Texts::new()).unwrap();
        let mut loaded = part(0.0, 3);
        load_plain(&path, &mut loaded, &device).unwrap();
        assert_eq!((to_host(loaded.tensor.val()), loaded.counter), (vec![5.0, 1.0], 3));
    }

    fn saved(epoch_loss: f64) -> (tempfile::TempDir, PathBuf, Meta) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.safetensors");
        let meta = Meta { step: 12, epoch_loss, config: "x = 1".into(), data_fingerprint: 9 };
        let tensor = Buffer::new(Tensor::from_data([1.0, -2.0], &Device::flex()));
        let mut part = Part { tensor, counter: 7 };
        save(&path, &mut [("part", &mut part)], &meta).unwrap();
        (folder, path, meta)
    }

    /// Decimals come back one unit off in the last place for one sum in some ten.
    #[test]
    fn the_sum_of_losses_comes_back_to_the_bit() {
        let mut sum = 0.0;
        for i in 1..200 {
            sum += f64::from((i as f32 * 0.37).sin() + 8.1);
            let (_folder, path, meta) = saved(sum);
            let read = Checkpoint::open(&path).unwrap().meta().clone();
            assert_eq!(read.epoch_loss.to_bits(), sum.to_bits());
            assert_eq!(read, meta);
        }
    }

    #[test]
    fn a_checkpoint_with_a_flipped_bit_is_damaged() {
        let (_folder, path, _) = saved(1.5);
        let bytes = std::fs::read(&path).unwrap();
        for i in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[i / 8] ^= 1 << (i % 8);
            std::fs::write(&path, &changed).unwrap();
            let error = Checkpoint::open(&path).err();
            let told = error.unwrap_or_else(|| panic!("bit {i} is missed"));
            assert!(matches!(told, CheckpointError::Malformed { .. }), "bit {i}: {told}");
        }
    }

    /// As the version before wrote them: format 2, decimals, no checksum.
    #[test]
    fn a_checkpoint_of_the_format_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.safetensors");
        let header = r#"{"format":2,"step":3,"epoch_loss":1.5,"config":"","data_fingerprint":5,"counters":{"part.counter":4}}"#;
        let values = [2.0f32, 3.0].map(f32::to_le_bytes).concat();
        let tensor =
            safetensors::tensor::TensorView::new(safetensors::tensor::Dtype::F32, vec![2], &values);
        let texts = HashMap::from([(METADATA_KEY.to_string(), header.to_string())]);
        let bytes =
            safetensors::serialize([("part.tensor", tensor.unwrap())], Some(texts)).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let device = Device::flex();
        let tensor = Buffer::new(Tensor::from_data([0.0, 0.0], &device));
        let mut part = Part { tensor, counter: 0 };
        let old = Checkpoint::open(&path).unwrap();
        old.restore(&mut [("part", &mut part)], &device).unwrap();
        assert_eq!((to_host(part.tensor.val()), part.counter), (vec![2.0, 3.0], 4));
        assert_eq!((old.meta().step, old.meta().epoch_loss, old.is_verified()), (3, 1.5, false));
    }
}
