//! What probes and fine-tuning have in common: a linear classifier on features, its loss, and the
//! images it learns from.

use crate::config::FeatureKind;
use crate::loss::cross_entropy_at;
use crate::models::Encode;
use crate::nn::{Linear, Mode, Module, Param, Visitor, init};
use crate::rng::{self, Purpose};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use moco_data::{DataError, Dataset, Loader, LoaderConfig, View};
use std::sync::Arc;

/// Batches that wait for the network.
const PREFETCH: usize = 4;

/// A backbone and a new linear layer, trained together.
pub struct Classifier {
    encoder: Box<dyn Encode>,
    head: Linear,
}

impl Module for Classifier {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("backbone", self.encoder.backbone());
        visitor.child("head", &mut self.head);
    }
}

impl Classifier {
    /// Puts a layer for `classes` classes, drawn from `seed` on `device`, behind `encoder`.
    pub fn new(encoder: Box<dyn Encode>, classes: usize, seed: u64, device: &Device) -> Self {
        let head = classifier(encoder.width(FeatureKind::Backbone), classes, seed, device);
        Self { encoder, head }
    }

    /// # Shapes
    /// `[N, H, W, 3]` to `[N, classes]`.
    pub fn forward(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.head.forward(self.encoder.embed(images, FeatureKind::Backbone, mode))
    }
}

/// Weights from N(0, 0.01), biases zero, as the reference starts its probe.
pub fn classifier(inputs: usize, classes: usize, seed: u64, device: &Device) -> Linear {
    let mut rng = rng::stream(seed, Purpose::Probe, 0);
    Linear {
        weight: Param::new(init::normal([classes, inputs], 0.01, &mut rng, device)),
        bias: Some(Param::new(Tensor::zeros([classes], device))),
    }
}

/// Mean cross-entropy; `smoothing` is the share of each target that all classes share.
///
/// # Shapes
/// `[N, classes]` and N labels to `[1]`.
pub fn cross_entropy(logits: Tensor<2>, labels: &[u32], smoothing: f64) -> Tensor<1> {
    let own = labels.iter().map(|&label| label as usize);
    if smoothing == 0.0 {
        return cross_entropy_at(logits, own);
    }
    let uniform = log_softmax(logits.clone(), 1).mean().neg();
    cross_entropy_at(logits, own) * (1.0 - smoothing) + uniform * smoothing
}

/// Augmented training images, a batch of at most `batch_size` at a time. Images that cannot be
/// read are left out, however many they are.
pub fn training_images(
    train: &Arc<Dataset>,
    view: &View,
    batch_size: usize,
    seed: u64,
    threads: usize,
) -> Result<Loader, DataError> {
    let settings = LoaderConfig {
        batch_size: batch_size.min(train.len()),
        views: vec![view.clone()],
        seed,
        threads,
        prefetch: PREFETCH,
        max_bad_share: 1.0,
        cache_mb: 0,
    };
    Loader::start(train.clone(), settings, 0)
}
