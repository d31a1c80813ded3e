//! Linear probe as MoCo trains it: He et al. 2020 (arXiv 1911.05722), Sec. 4.1.
//!
//! A linear classifier on frozen backbone features of augmented images, by SGD. The backbone stays
//! in evaluation mode, so neither its weights nor its BatchNorm statistics move.

use super::{Accuracy, Features, FrozenEncoder};
use crate::batch::{Batch, to_host};
use crate::config::FeatureKind;
use crate::nn::{Linear, Param, init};
use crate::optim::Sgd;
use crate::rng::{self, Purpose};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use moco_data::{DataError, Dataset, Loader, LoaderConfig, View};
use std::sync::Arc;

/// Batches that wait for the probe.
const PREFETCH: usize = 4;

/// Settings of the probe; the defaults are the paper's.
#[derive(Clone, Debug)]
pub struct LinearProbe {
    /// Augmentation of training images.
    pub view: View,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Learning rate; falls tenfold at 60 % and 80 % of the epochs.
    pub lr: f64,
    /// Seed of order, augmentation and initial weights.
    pub seed: u64,
    /// Threads that decode and augment.
    pub threads: usize,
}

impl LinearProbe {
    /// The paper's settings on images augmented by `view`.
    pub fn new(view: View, seed: u64, threads: usize) -> Self {
        Self { view, epochs: 100, batch_size: 256, lr: 30.0, seed, threads }
    }
}

/// Trains the probe on `train` and scores it on the features of the test set.
///
/// `progress` hears (steps done, steps in all).
///
/// # Errors
/// [`DataError`] when the training images cannot be read.
pub fn linear_sgd(
    frozen: &mut FrozenEncoder,
    train: Arc<Dataset>,
    test: &Features,
    config: &LinearProbe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Accuracy, DataError> {
    let device = frozen.device().clone();
    let classes = train.class_names().len();
    let width = frozen.encoder.width(FeatureKind::Backbone);
    let batch_size = config.batch_size.min(train.len());
    let mut loader = Loader::start(
        train.clone(),
        LoaderConfig {
            batch_size,
            views: vec![config.view.clone()],
            seed: config.seed,
            threads: config.threads,
            prefetch: PREFETCH,
            max_bad_share: 1.0,
            cache_mb: 0,
        },
        0,
    )?;
    let mut classifier = classifier(width, classes, config.seed, &device.clone().autodiff());
    let mut sgd = Sgd::new(0.9, 0.0, &mut classifier);

    let total = config.epochs * loader.steps_per_epoch();
    for step in 0..total {
        let batch = loader.next_batch()?;
        let labels: Vec<u32> = batch.indices.iter().filter_map(|&i| train.label(i)).collect();
        let images = Batch::new(batch, &device).views.remove(0);
        let features = frozen.encoder.features(images, FeatureKind::Backbone);
        let loss = cross_entropy(classifier.forward(features), &labels);
        let lr = config.lr * decay(step, total);
        sgd.step(&mut classifier, &loss.backward(), lr);
        progress(step + 1, total);
    }

    let rows = test.len();
    let features = TensorData::new(test.values.clone(), [rows, width]);
    let features = Tensor::<2>::from_data(features, &device);
    let scores = to_host(classifier.forward(features));
    Ok(Accuracy::from_scores(&scores, classes, &test.labels))
}

/// Tenfold drops at 60 % and 80 % of the run: epochs 60 and 80 of the paper's 100.
fn decay(step: usize, total: usize) -> f64 {
    match 10 * step / total {
        0..=5 => 1.0,
        6..=7 => 0.1,
        _ => 0.01,
    }
}

/// Weights from N(0, 0.01), biases zero, as the reference starts its probe.
fn classifier(inputs: usize, classes: usize, seed: u64, device: &Device) -> Linear {
    let mut rng = rng::stream(seed, Purpose::Probe, 0);
    Linear {
        weight: Param::new(init::normal([classes, inputs], 0.01, &mut rng, device)),
        bias: Some(Param::new(Tensor::zeros([classes], device))),
    }
}

fn cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let n = labels.len();
    let labels =
        Tensor::<2, Int>::from_data(TensorData::new(labels, [n, 1]), &logits.device().inner());
    log_softmax(logits, 1).gather(1, labels).mean().neg()
}
