//! Features of a data set under a frozen encoder.

use super::EvalError;
use super::encode::{Encoded, Seen, encode};
use crate::batch::{pixels_to_tensor, to_host};
use crate::checkpoint::{CheckpointError, load_plain};
use crate::config::FeatureKind;
use crate::models::Encode;
use crate::nn::{Mode, Module, copy_tensors, freeze, thaw};
use burn::tensor::Device;
use moco_data::{BadFile, Dataset, View};
use moco_peers::Peers;
use std::path::Path;

/// Images per forward pass.
const BATCH: usize = 128;

/// An encoder that is no longer trained, with the preprocessing it expects.
pub struct FrozenEncoder {
    /// The network, on the plain device.
    pub encoder: Box<dyn Encode>,
    /// What is done to an image before it is encoded.
    pub view: View,
    pub(super) device: Device,
    pub(super) peers: Peers,
}

impl FrozenEncoder {
    /// `encoder`, a network on the plain `device`, which sees images through `view`.
    pub fn new(encoder: Box<dyn Encode>, view: View, device: &Device) -> Self {
        Self { encoder, view, device: device.clone(), peers: Peers::SOLO }
    }

    /// Makes this the encoder of one of several ranks, all of which encode the same images at the same
    /// time, each a share of them: whoever asks for features gets the features of all images.
    pub fn among(self, peers: Peers) -> Self {
        Self { peers, ..self }
    }

    /// The ranks that share what is to be encoded.
    pub fn peers(&self) -> Peers {
        self.peers
    }

    /// Takes over the weights that a run left in `encoder.safetensors`.
    ///
    /// # Errors
    /// [`CheckpointError`] when the file is missing, damaged, of another shape, or holds what is no
    /// number.
    pub fn load(&mut self, path: &Path) -> Result<(), CheckpointError> {
        load_plain(path, self.encoder.as_mut(), &self.device)
    }

    /// Where the network lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Takes over the present weights of a network under training.
    pub fn copy_from(&mut self, encoder: &mut dyn Module) {
        copy_tensors(encoder, self.encoder.as_mut());
    }
}

/// One row per readable image of a data set.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// `[rows, dim]`, row-major, not normalised.
    pub values: Vec<f32>,
    /// Width of a row.
    pub dim: usize,
    /// Which image each row belongs to.
    pub indices: Vec<usize>,
    /// Its class; empty unless every row has one.
    pub labels: Vec<u32>,
    /// Images that could not be read.
    pub bad: Vec<BadFile>,
}

impl Features {
    /// Rows.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The rows whose positions satisfy `keep`.
    pub fn filter(&self, keep: impl Fn(usize) -> bool) -> Features {
        let rows: Vec<usize> = (0..self.len()).filter(|&row| keep(row)).collect();
        let pick = |row: &usize| &self.values[row * self.dim..(row + 1) * self.dim];
        Features {
            values: rows.iter().flat_map(pick).copied().collect(),
            dim: self.dim,
            indices: rows.iter().map(|&row| self.indices[row]).collect(),
            labels: rows.iter().filter_map(|&row| self.labels.get(row).copied()).collect(),
            bad: Vec::new(),
        }
    }

    /// The rows scaled to unit length; zero rows stay zero.
    pub fn normalized(&self) -> Vec<f32> {
        let mut values = self.values.clone();
        for row in values.chunks_exact_mut(self.dim.max(1)) {
            let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length.max(1e-12)) as f32);
        }
        values
    }
}

/// Encodes every image of `dataset`, in order. `progress` hears (done, total). A collective call where
/// several ranks share the work.
///
/// # Errors
/// [`EvalError`] when a server does not give the images, a feature is infinite or no number, or the
/// encoder has no head whose output is asked for.
pub fn features(
    frozen: &mut FrozenEncoder,
    dataset: &Dataset,
    kind: FeatureKind,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Features, EvalError> {
    if kind == FeatureKind::Head && !frozen.encoder.has_head() {
        return Err(EvalError::NoHead);
    }
    let dim = frozen.encoder.width(kind);
    let ([height, width], count) = (frozen.view.size(), frozen.view.count());
    let FrozenEncoder { encoder, view, device, peers } = frozen;
    freeze(encoder.as_mut());
    let seen = (dataset, &*view, threads);
    let features = collect(seen, dim, *peers, progress, &mut |n, pixels| {
        let images = pixels_to_tensor(pixels, [n * count, height, width], device);
        to_host(encoder.embed(images, kind, Mode::Eval))
    });
    thaw(encoder.as_mut());
    let features = features?;
    check_finite(dataset, &features.values, features.dim, &features.indices)?;
    Ok(features)
}

/// Refuses values, `width` of each of the images `indices`, that are infinite or no numbers.
pub(super) fn check_finite(
    dataset: &Dataset,
    values: &[f32],
    width: usize,
    indices: &[usize],
) -> Result<(), EvalError> {
    let rows = values.chunks_exact(width.max(1)).zip(indices);
    let mut broken = rows.filter(|(row, _)| !row.iter().all(|value| value.is_finite()));
    match broken.next() {
        Some((_, &first)) => Err(EvalError::NotFinite {
            count: 1 + broken.count(),
            images: indices.len(),
            example: dataset.name(first).to_owned(),
        }),
        None => Ok(()),
    }
}

/// The pixels themselves as features, after `view`: the baseline that any encoder must beat. A
/// collective call of `peers`.
///
/// # Errors
/// [`EvalError`] when a server does not give the images.
pub fn pixel_features(
    dataset: &Dataset,
    view: &View,
    threads: usize,
    peers: Peers,
) -> Result<Features, EvalError> {
    let seen = (dataset, view, threads);
    collect(seen, view.value_count(), peers, &mut |_, _| (), &mut |_, pixels| pixels)
}

fn collect(
    (dataset, view, threads): (&Dataset, &View, usize),
    dim: usize,
    peers: Peers,
    progress: &mut dyn FnMut(usize, usize),
    network: &mut dyn FnMut(usize, Vec<f32>) -> Vec<f32>,
) -> Result<Features, EvalError> {
    let all: Vec<usize> = (0..dataset.len()).collect();
    let seen = Seen { dataset, indices: &all, view, draws: 1, at_once: BATCH, threads };
    let Encoded { indices, values, bad } = encode(seen, peers, progress, network)?;
    let labels: Option<Vec<u32>> = indices.iter().map(|&i| dataset.label(i)).collect();
    Ok(Features { values, dim, indices, labels: labels.unwrap_or_default(), bad })
}
