//! Proof of an import: features of given images against those of the weights' own code.

use super::Pretrained;
use crate::batch::to_host;
use crate::checkpoint::CheckpointError;
use crate::config::FeatureKind;
use crate::models::Encode;
use crate::nn::Mode;
use burn::tensor::{Device, Tensor, TensorData};
use moco_weights::read::Checkpoint;
use moco_weights::{Values, WeightsError};
use std::path::Path;

/// How far features may be off, as a share of the largest one. Both sides compute in single
/// precision and sum in another order; through the depth of a network that is some 1e-6.
const TOLERANCE: f32 = 2e-5;

/// One feature of the file, and how far ours is from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Its name in the file.
    pub name: String,
    /// Largest difference of a value.
    pub difference: f32,
    /// Largest magnitude of an expected value.
    pub largest: f32,
}

impl Compared {
    /// Whether the difference is no more than rounding.
    pub fn agrees(&self) -> bool {
        self.difference <= TOLERANCE * self.largest
    }
}

/// Why features cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The file cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The encoder's own file cannot be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The file has not what is compared.
    #[error("{file} {problem}")]
    Features {
        /// The file.
        file: String,
        /// What is the matter, as the rest of a sentence with the mend.
        problem: String,
    },
}

/// Computes the features of the tensor `input`, `[N, 3, H, W]` as the network is given it, in the
/// safetensors at `path`, and compares them with those stored beside it: `pooled` (what a head sees),
/// of a transformer `tokens`, `cls`, `patch_mean`, of CMC's pair `pooled_l` and `pooled_ab`; with the
/// ending `_small` those of `input_small`. Other tensors are left.
///
/// # Errors
/// [`CheckError`].
pub fn check_features(
    pretrained: &mut Pretrained,
    path: &Path,
) -> Result<Vec<Compared>, CheckError> {
    let file = moco_weights::read::open(path)?;
    let fault =
        |problem: String| CheckError::Features { file: path.display().to_string(), problem };
    let device = pretrained.frozen.device().clone();
    let encoder = pretrained.frozen.encoder.as_mut();
    let mut compared = Vec::new();
    for ending in ["", "_small"] {
        let name = format!("input{ending}");
        let Some(input) = values(&file, &name)? else { continue };
        let images =
            images(&input, &device).map_err(|problem| fault(format!("{name} {problem}")))?;
        if let Some(vit) = encoder.vit() {
            let size = [images.dims()[1], images.dims()[2]];
            vit.config().check_image(size).map_err(|error| fault(format!("{name}: {error}")))?;
        }
        for (name, found) in features(encoder, images) {
            let name = format!("{name}{ending}");
            let Some(expected) = values(&file, &name)? else { continue };
            compared.push(compare(name, &found, &expected).map_err(fault)?);
        }
    }
    match compared.is_empty() {
        true => Err(fault(
            "has no features to compare with: store `input` [N, 3, H, W] and `pooled` [N, F]"
                .to_owned(),
        )),
        false => Ok(compared),
    }
}

/// `[N, 3, H, W]` in a file to `[N, H, W, 3]`.
fn images(input: &Values, device: &Device) -> Result<Tensor<4>, String> {
    let &[n, 3, height, width] = input.shape.as_slice() else {
        return Err(format!("is {:?}: needs [N, 3, H, W]", input.shape));
    };
    let shape = [n, 3, height, width];
    let images = Tensor::<4>::from_data(TensorData::new(input.data.clone(), shape), device);
    Ok(images.permute([0, 2, 3, 1]))
}

/// All features of a batch that a file may have, under their names.
fn features(encoder: &mut dyn Encode, images: Tensor<4>) -> Vec<(&'static str, Vec<f32>)> {
    let pooled = encoder.embed(images.clone(), FeatureKind::Backbone, Mode::Eval);
    let half = pooled.dims()[1] / 2;
    let mut found = vec![
        ("pooled_l", to_host(pooled.clone().narrow(1, 0, half))),
        ("pooled_ab", to_host(pooled.clone().narrow(1, half, half))),
        ("pooled", to_host(pooled)),
    ];
    if let Some(vit) = encoder.vit() {
        let tokens = vit.forward_tokens(images, Mode::Eval);
        let (prefix, [n, t, d]) = (vit.config().prefix_tokens(), tokens.dims());
        let patches = tokens.clone().narrow(1, prefix, t - prefix).mean_dim(1).reshape([n, d]);
        found.push(("patch_mean", to_host(patches)));
        if vit.config().class_token {
            found.push(("cls", to_host(tokens.clone().narrow(1, 0, 1).reshape([n, d]))));
        }
        found.push(("tokens", to_host(tokens)));
    }
    found
}

/// A tensor of the file, if it is there.
fn values(file: &Checkpoint, name: &str) -> Result<Option<Values>, WeightsError> {
    file.tensors.get(name).map(|tensor| tensor.read(name)).transpose()
}

fn compare(name: String, found: &[f32], expected: &Values) -> Result<Compared, String> {
    if expected.data.len() != found.len() {
        return Err(format!(
            "holds `{name}` of {:?}, and the encoder gives {} values: it is of another network",
            expected.shape,
            found.len()
        ));
    }
    let far = |(found, expected): (&f32, &f32)| match (found - expected).abs() {
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference,
    };
    let difference = found.iter().zip(&expected.data).map(far).fold(0.0, f32::max);
    let largest = expected.data.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    Ok(Compared { name, difference, largest })
}
