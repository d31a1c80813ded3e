//! Linear probe by stochastic gradients, as the papers train it.
//!
//! A linear classifier on frozen features of augmented images (He et al. 2020, arXiv 1911.05722,
//! Sec. 4.1). The backbone stays in evaluation mode, so neither its weights nor its BatchNorm
//! statistics move. [`Protocol`] says what differs from method to method.

use super::classifier::{classifier_of, cross_entropy, next_batch, training_images};
use super::{Accuracy, Epochs, EvalError, Features, FrozenEncoder, Protocol};
use crate::batch::{Batch, to_host};
use crate::config::FeatureKind;
use crate::nn::{Affine, FeatureNorm, Linear, Mode, freeze};
use crate::optim::{NamedGradients, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};
use moco_data::{Dataset, View};
use moco_peers::Peers;
use std::sync::Arc;

/// Images that are encoded at once, however large a batch is.
const AT_ONCE: usize = 256;
/// Added to variances by the BatchNorm before the layer: MAE's (arXiv 2111.06377, App. A.1).
const EPSILON: f64 = 1e-6;

/// Settings of the probe.
#[derive(Clone, Debug)]
pub struct LinearProbe {
    /// Augmentation of training images.
    pub view: View,
    /// How the layer is trained.
    pub protocol: Protocol,
    /// Seed of order, augmentation and initial weights.
    pub seed: u64,
    /// Threads that decode and augment.
    pub threads: usize,
}

/// The layer on frozen features, and what trains it.
pub struct ProbeLayer {
    norm: Option<FeatureNorm>,
    linear: Linear,
    optimizer: Optimizer,
    weight_decay: f64,
}

crate::module!(ProbeLayer { norm, linear });

impl ProbeLayer {
    /// A layer from features of `width` to `classes`, drawn from `seed`. `device` is the plain
    /// device; the layer is put on its autodiff side.
    pub fn new(
        protocol: &Protocol,
        [width, classes]: [usize; 2],
        seed: u64,
        device: &Device,
    ) -> Self {
        let norm = || FeatureNorm::new(width, 1, Affine::Neither, device).with_epsilon(EPSILON);
        let graph = device.clone().autodiff();
        let mut linear = classifier_of(protocol.head, width, classes, seed, &graph);
        let (rule, scope) = protocol.optimizer.rule();
        let optimizer = Optimizer::of_rule(rule, scope, None, &mut linear);
        let weight_decay = protocol.weight_decay;
        Self { norm: protocol.normalize.then(norm), linear, optimizer, weight_decay }
    }

    /// One step at the rate `lr` on the features of a batch.
    ///
    /// # Shapes
    /// `[N, width]` and N labels.
    pub fn step(&mut self, features: Tensor<2>, labels: &[u32], lr: f64) {
        let loss = cross_entropy(self.logits(features, Mode::Train), labels, 0.0);
        let gradients = NamedGradients::of(&mut self.linear, &loss.backward());
        self.optimizer.step(&mut self.linear, gradients, self.weight_decay, |_| Some(lr));
    }

    /// # Shapes
    /// `[N, width]` to `[N, classes]`.
    pub fn logits(&mut self, features: Tensor<2>, mode: Mode) -> Tensor<2> {
        let features = match &mut self.norm {
            Some(norm) => norm.forward(features, mode),
            None => features,
        };
        self.linear.forward(features)
    }
}

/// Trains the probe on `train` and scores it on the features of the test set after every epoch.
///
/// `progress` hears (steps done, steps in all). A collective call where several ranks share the work:
/// each encodes its share of a batch, and trains the same layer on all of it.
///
/// # Errors
/// [`EvalError`] when the training images cannot be read, batches do not split over the ranks, or the
/// probe diverges.
pub fn linear_sgd(
    frozen: &mut FrozenEncoder,
    train: Arc<Dataset>,
    test: &Features,
    config: &LinearProbe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Epochs, EvalError> {
    let device = frozen.device().clone();
    let peers = frozen.peers();
    let LinearProbe { view, protocol, seed, threads } = config;
    let sizes = [frozen.encoder.width(protocol.feature), train.class_names().len()];
    let mut layer = ProbeLayer::new(protocol, sizes, *seed, &device);
    freeze(frozen.encoder.as_mut());
    let mut loader = training_images(&train, view, protocol.batch_size, *seed, *threads, peers)?;
    let rates = protocol.schedule(protocol.batch_size.min(train.len()));
    let per_epoch = loader.steps_per_epoch();

    let [width, classes] = sizes;
    let tested = TensorData::new(test.values.clone(), [test.len(), width]);
    let tested = Tensor::from_data(tested, &device);
    let mut epochs = Epochs::default();
    let total = protocol.epochs * per_epoch;
    for step in 0..total {
        let (batch, labels) = next_batch(&mut loader, &train, peers)?;
        let images = Batch::new(batch, &device).views.remove(0);
        let features = encode(frozen, images, labels.len(), protocol.feature);
        let (features, labels) = of_all(features, labels, peers);
        layer.step(features, &labels, rates.at(step, per_epoch));
        progress(step + 1, total);
        if (step + 1).is_multiple_of(per_epoch) {
            let scores = to_host(layer.logits(tested.clone(), Mode::Eval));
            let accuracy = Accuracy::of_classifier(&scores, classes, &test.labels)?;
            epochs.push((step + 1) / per_epoch, accuracy);
        }
    }
    Ok(epochs)
}

/// Features of a batch of `count` images.
fn encode(
    frozen: &mut FrozenEncoder,
    images: Tensor<4>,
    count: usize,
    feature: FeatureKind,
) -> Tensor<2> {
    // A view may cut an image into several rows, which stay together.
    let rows = AT_ONCE * (images.dims()[0] / count);
    let parts = images.split(rows, 0).into_iter();
    let features = parts.map(|part| frozen.encoder.embed(part, feature, Mode::Eval));
    Tensor::cat(features.collect(), 0)
}

/// Features and labels of a whole batch, of those of this rank's share.
fn of_all(features: Tensor<2>, labels: Vec<u32>, peers: Peers) -> (Tensor<2>, Vec<u32>) {
    if peers.alone() {
        return (features, labels);
    }
    let ([rows, width], device) = (features.dims(), features.device());
    let values = peers.gather_rows(&to_host(features), width, "features");
    let labels = peers.gather_rows(&labels, 1, "labels");
    let all = TensorData::new(values, [rows * peers.size(), width]);
    (Tensor::from_data(all, &device), labels)
}
