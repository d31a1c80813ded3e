//! Linear probe as MoCo trains it: He et al. 2020 (arXiv 1911.05722), Sec. 4.1.
//!
//! A linear classifier on frozen backbone features of augmented images, by SGD. The backbone stays
//! in evaluation mode, so neither its weights nor its BatchNorm statistics move.

use super::classifier::{classifier, cross_entropy, training_images};
use super::{Accuracy, Features, FrozenEncoder};
use crate::batch::{Batch, to_host};
use crate::config::{DecayScope, FeatureKind, RuleConfig};
use crate::nn::{Affine, FeatureNorm, Mode};
use crate::optim::{NamedGradients, Optimizer};
use burn::tensor::{Tensor, TensorData};
use moco_data::{DataError, Dataset, View};
use std::sync::Arc;

/// Settings of the probe; the defaults are the paper's.
#[derive(Clone, Debug)]
pub struct LinearProbe {
    /// Augmentation of training images.
    pub view: View,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Output of the encoder that the layer sees.
    pub feature: FeatureKind,
    /// BatchNorm without scale and shift before the layer: MAE's probe (arXiv 2111.06377, App. A.1).
    pub normalize: bool,
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
        Self {
            view,
            epochs: 100,
            batch_size: 256,
            feature: FeatureKind::Backbone,
            normalize: false,
            lr: 30.0,
            seed,
            threads,
        }
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
    let width = frozen.encoder.width(config.feature);
    let mut norm = config.normalize.then(|| FeatureNorm::new(width, 1, Affine::Neither, &device));
    let mut loader =
        training_images(&train, &config.view, config.batch_size, config.seed, config.threads)?;
    let mut classifier = classifier(width, classes, config.seed, &device.clone().autodiff());
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, &mut classifier);

    let total = config.epochs * loader.steps_per_epoch();
    for step in 0..total {
        let batch = loader.next_batch()?;
        let labels: Vec<u32> = batch.indices.iter().filter_map(|&i| train.label(i)).collect();
        let images = Batch::new(batch, &device).views.remove(0);
        let features = frozen.encoder.embed(images, config.feature, Mode::Eval);
        let features = normalized(norm.as_mut(), features, Mode::Train);
        let loss = cross_entropy(classifier.forward(features), &labels, 0.0);
        let lr = config.lr * decay(step, total);
        let gradients = NamedGradients::of(&mut classifier, &loss.backward());
        sgd.step(&mut classifier, gradients, 0.0, |_| Some(lr));
        progress(step + 1, total);
    }

    let rows = test.len();
    let features =
        Tensor::<2>::from_data(TensorData::new(test.values.clone(), [rows, width]), &device);
    let features = normalized(norm.as_mut(), features, Mode::Eval);
    let scores = to_host(classifier.forward(features));
    Ok(Accuracy::from_scores(&scores, classes, &test.labels))
}

fn normalized(norm: Option<&mut FeatureNorm>, features: Tensor<2>, mode: Mode) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(features, mode),
        None => features,
    }
}

/// Tenfold drops at 60 % and 80 % of the run: epochs 60 and 80 of the paper's 100.
fn decay(step: usize, total: usize) -> f64 {
    match 10 * step / total {
        0..=5 => 1.0,
        6..=7 => 0.1,
        _ => 0.01,
    }
}
