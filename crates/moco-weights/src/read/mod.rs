//! A file of weights, as its own code named them.

mod bytes;
mod checkpoint;
mod folder;
mod pickle;
mod safetensors;
mod torch;
mod walk;
mod zip;

pub use checkpoint::{Checkpoint, Skipped, Tensor};
pub(crate) use folder::{listed, pick};

use crate::error::{Result, WeightsError};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Reads a file, the index of shards, or a folder in the form of Hugging Face. The format is told
/// from the first bytes, never from the name. Values stay in the file until they are asked for.
///
/// # Errors
/// [`WeightsError`], for a file that cannot be read or is not whole.
pub fn open(path: &Path) -> Result<Checkpoint> {
    if path.is_dir() {
        return folder::open(path);
    }
    let mut checkpoint = file(path)?;
    folder::add_config(&mut checkpoint, path)?;
    Ok(checkpoint)
}

/// Reads what a file of this name would hold; nothing beside it.
///
/// # Errors
/// See [`open`].
pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Checkpoint> {
    told(Arc::new(Bytes::of(name, bytes)))
}

/// Reads a file alone.
fn file(path: &Path) -> Result<Checkpoint> {
    told(Arc::new(Bytes::open(path)?))
}

/// Reads bytes in the format that they begin with.
fn told(bytes: Arc<Bytes>) -> Result<Checkpoint> {
    let head = bytes.read(0, bytes.length().min(512))?;
    if head.starts_with(b"PK\x03\x04") {
        return torch::zip(bytes);
    }
    if head.starts_with(&torch::STREAM) {
        return torch::stream(bytes);
    }
    if head.get(8) == Some(&b'{') {
        return safetensors::read(bytes);
    }
    if head.first() == Some(&b'{') {
        return folder::index(&bytes);
    }
    Err(unknown(bytes.path(), &head))
}

/// The error of a file that is none of these, by what it looks like.
fn unknown(path: &Path, head: &[u8]) -> WeightsError {
    let path = path.to_owned();
    let text = String::from_utf8_lossy(head).trim_start().to_lowercase();
    if head.starts_with(&[0x80]) || head.starts_with(b"(") {
        let problem = "is a pickle that torch.save did not write".into();
        return WeightsError::Resave { path, problem };
    }
    if is_tar(head) {
        let problem = "is an archive, or of torch's oldest format".into();
        return WeightsError::Resave { path, problem };
    }
    let found = match () {
        () if head.is_empty() => "it is empty",
        () if text.starts_with("version https://git-lfs") => {
            "it is a pointer of Git LFS; fetch what it stands for by `git lfs pull`"
        }
        () if text.starts_with('<') => "it is a web page, which a server sent in its place",
        () if head.starts_with(&[0x1f, 0x8b]) => "it is packed by gzip; unpack it",
        () if head.starts_with(b"\x89HDF") => "it is a file of Keras or HDF5",
        () if text.starts_with('[') => "it is JSON",
        () => "its first bytes are of no known format",
    };
    WeightsError::NotWeights { path, found: found.into() }
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}
