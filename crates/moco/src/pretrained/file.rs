//! Imported weights as a file of ours, which explains itself.

use super::{ImportError, Imported, Network, Pretrained};
use crate::checkpoint::{
    CheckpointError, TensorFile, check_finite, host_tensors, load_plain, write_tensors,
};
use crate::export::{Origin, facts};
use burn::tensor::Device;
use std::path::Path;

/// Key of the description, a JSON object, in the file's metadata.
const KEY: &str = "moco.import";

/// Writes the encoder, and where it is from, as safetensors.
///
/// # Errors
/// [`ImportError::File`] when the file cannot be written, or a weight is no finite number.
pub fn save_imported(pretrained: &mut Pretrained, path: &Path) -> Result<(), ImportError> {
    let tensors = host_tensors(pretrained.frozen.encoder.as_mut());
    check_finite(path, &tensors)?;
    let start_licence = pretrained.imported.licence.clone();
    let mut texts = Origin { start_licence, ..Origin::new(&pretrained.config, 0)? }.texts();
    if let Network::Single(architecture) = &pretrained.imported.network {
        texts.extend(facts(None, architecture, &pretrained.frozen.view));
    }
    let description = serde_json::to_string(&pretrained.imported).expect("plain data serialises");
    texts.insert(KEY.to_owned(), description);
    texts.insert("format".to_owned(), "moco".to_owned());
    Ok(write_tensors(path, &tensors, texts)?)
}

/// The encoder that [`save_imported`] wrote to `path`; `None` if the file is no such one.
///
/// # Errors
/// [`ImportError`] when the file cannot be read, is damaged, or describes another network than it holds.
pub fn read_imported(path: &Path, device: &Device) -> Result<Option<Pretrained>, ImportError> {
    let file = TensorFile::open(path)?;
    let Some(text) = file.text(KEY) else { return Ok(None) };
    let imported: Imported = serde_json::from_str(text).map_err(|error| {
        CheckpointError::Malformed { path: path.to_owned(), reason: error.to_string() }
    })?;
    let mut pretrained = Pretrained::empty(imported, device)?;
    load_plain(path, pretrained.frozen.encoder.as_mut(), device)?;
    Ok(Some(pretrained))
}
