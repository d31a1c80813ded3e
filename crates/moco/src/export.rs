//! Encoders as files that other programs load.

use crate::checkpoint::{CheckpointError, host_tensors, write_tensors};
use crate::models::Encode;
use std::collections::HashMap;
use std::path::Path;

/// Naming of the exported tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `backbone.layer1.0.conv1.weight` and `head.output.weight`: backbone and head.
    Moco,
    /// `layer1.0.conv1.weight`: the backbone alone, as `torchvision.models` names it. Loads with
    /// `load_state_dict(strict=True)` once `fc` is replaced by `Identity`.
    Torchvision,
}

/// Writes an encoder as safetensors, parameters and BatchNorm statistics.
///
/// # Errors
/// [`CheckpointError::Io`] when the file cannot be written.
pub fn save_encoder(
    encoder: &mut dyn Encode,
    path: &Path,
    names: Names,
) -> Result<(), CheckpointError> {
    let (tensors, format) = match names {
        Names::Moco => (host_tensors(encoder), "moco"),
        Names::Torchvision => (host_tensors(encoder.backbone()), "pt"),
    };
    write_tensors(path, &tensors, HashMap::from([("format".to_string(), format.to_string())]))
}
