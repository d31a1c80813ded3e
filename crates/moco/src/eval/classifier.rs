//! What probes and fine-tuning have in common: a linear classifier on features, its loss, and the
//! images it learns from.

use super::{EvalError, Refit, together};
use crate::config::{FeatureKind, HeadStart};
use crate::loss::cross_entropy_at;
use crate::models::Encode;
use crate::nn::{Linear, Mode, Module, Param, Visitor, average_statistics, init};
use crate::optim::{NamedGradients, Optimizer};
use crate::rng::{self, Purpose};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use moco_data::{Batch, Dataset, Loader, LoaderConfig, Share, View};
use moco_peers::Peers;
use std::sync::Arc;

/// Images that wait for the network, in at least one batch and at most [`PREFETCH`].
const WAITING: usize = 1024;
/// Batches that wait for the network.
const PREFETCH: usize = 4;

/// An encoder and a new linear layer, trained together. After [`crate::nn::share`] each rank has its share
/// of every batch, and what is trained stays the same on all of them.
pub struct Classifier {
    encoder: Box<dyn Encode>,
    /// The output of the encoder that the layer sees.
    feature: FeatureKind,
    head: Linear,
    pub(super) peers: Peers,
}

impl Module for Classifier {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("backbone", self.encoder.backbone());
        if self.feature == FeatureKind::Head
            && let Some(projector) = self.encoder.projector()
        {
            visitor.child("projector", projector);
        }
        visitor.child("head", &mut self.head);
        self.peers.visit(visitor);
    }
}

impl Classifier {
    /// Puts a layer for `classes` classes, drawn from `seed` on `device`, behind the backbone of
    /// `encoder`.
    pub fn new(encoder: Box<dyn Encode>, classes: usize, seed: u64, device: &Device) -> Self {
        Self::behind(FeatureKind::Backbone, encoder, classes, seed, device)
    }

    /// As [`Classifier::new`], behind what `refit` makes of an encoder that has its pre-trained
    /// weights.
    ///
    /// # Panics
    /// If the encoder lacks what `refit` reads, a transformer or a projection head.
    pub fn refitted(
        mut encoder: Box<dyn Encode>,
        refit: &Refit,
        classes: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        refit.apply(encoder.as_mut(), seed);
        Self::behind(refit.feature(), encoder, classes, seed, device)
    }

    fn behind(
        feature: FeatureKind,
        encoder: Box<dyn Encode>,
        classes: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        let head = classifier(encoder.width(feature), classes, seed, device);
        Self { encoder, feature, head, peers: Peers::SOLO }
    }

    /// Classes that are told apart.
    pub fn classes(&self) -> usize {
        self.head.weight.val().dims()[0]
    }

    /// Draws the new layer anew, from `seed`.
    pub fn start_head(&mut self, start: HeadStart, seed: u64) {
        let weight = self.head.weight.val();
        let [classes, inputs] = weight.dims();
        self.head = classifier_of(start, inputs, classes, seed, &weight.device());
    }

    /// # Shapes
    /// `[N, H, W, 3]` to `[N, classes]`.
    pub fn forward(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.head.forward(self.encoder.embed(images, self.feature, mode))
    }

    /// Moves the weights by the gradients of `loss`, the mean over this rank's share of a batch; `rate` is
    /// that of a parameter. A collective call.
    pub(super) fn learn(
        &mut self,
        loss: &Tensor<1>,
        optimizer: &mut Optimizer,
        weight_decay: f64,
        rate: impl Fn(&str) -> f64,
    ) {
        let peers = self.peers;
        let mut gradients = NamedGradients::of(self, &loss.backward());
        gradients.average(peers);
        average_statistics(self, peers);
        optimizer.step(self, gradients, weight_decay, |name| Some(rate(name)));
    }
}

/// A layer as the references start their probes.
pub fn classifier(inputs: usize, classes: usize, seed: u64, device: &Device) -> Linear {
    classifier_of(HeadStart::PROBE, inputs, classes, seed, device)
}

/// A layer that starts as it is told.
pub fn classifier_of(
    start: HeadStart,
    inputs: usize,
    classes: usize,
    seed: u64,
    device: &Device,
) -> Linear {
    let mut rng = rng::stream(seed, Purpose::Probe, 0);
    let shape = [classes, inputs];
    let weight = match start {
        HeadStart::Normal(std) => init::normal(shape, std, &mut rng, device),
        HeadStart::FanIn => {
            init::truncated_normal(shape, (inputs as f64).sqrt().recip(), &mut rng, device)
        }
    };
    Linear { weight: Param::new(weight), bias: Some(Param::new(Tensor::zeros([classes], device))) }
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

/// Mean cross-entropy with targets that are shares of classes.
///
/// # Shapes
/// `[N, classes]`, twice, to `[1]`; the targets are constants.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (log_softmax(logits, 1) * targets).sum_dim(1).mean().neg()
}

/// Augmented training images, this rank's share of a batch of at most `batch_size` at a time. Images
/// that cannot be read are left out, however many they are.
pub fn training_images(
    train: &Arc<Dataset>,
    view: &View,
    batch_size: usize,
    seed: u64,
    threads: usize,
    peers: Peers,
) -> Result<Loader, EvalError> {
    let (batch_size, ranks) = (batch_size.min(train.len()), peers.size());
    if !batch_size.is_multiple_of(ranks) {
        return Err(EvalError::Uneven { batch: batch_size, ranks });
    }
    let settings = LoaderConfig {
        batch_size,
        views: vec![view.clone()],
        seed,
        threads,
        prefetch: (WAITING / batch_size.max(1)).clamp(1, PREFETCH),
        max_bad_share: 1.0,
        cache_mb: 0,
    };
    let share = Share { number: peers.rank(), of: ranks };
    Ok(Loader::start_share(train.clone(), settings, share, 0)?)
}

/// This rank's share of the next batch, if all ranks have theirs, with its labels. A collective call.
pub fn next_batch(
    loader: &mut Loader,
    images: &Dataset,
    peers: Peers,
) -> Result<(Batch, Vec<u32>), EvalError> {
    let batch = together(loader.next_batch().map_err(EvalError::from), peers)?;
    let labels = batch.indices.iter().filter_map(|&i| images.label(i)).collect();
    Ok((batch, labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::eval::Mix;
    use crate::nn::init;

    const LABELS: [u32; 6] = [3, 0, 1, 1, 4, 2];
    const CLASSES: usize = 5;

    fn logits() -> Tensor<2> {
        let mut rng = rng::stream(5, Purpose::Weights, 0);
        init::normal([LABELS.len(), CLASSES], 2.0, &mut rng, &Device::flex())
    }

    /// By the definition, in f64.
    fn loop_cross_entropy(logits: &[f32], targets: &[f32]) -> f64 {
        let rows = logits.chunks_exact(CLASSES).zip(targets.chunks_exact(CLASSES));
        let losses = rows.map(|(logits, targets)| {
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            let pairs = logits.iter().zip(targets);
            pairs.map(|(&l, &t)| f64::from(t) * (sum.ln() - f64::from(l))).sum::<f64>()
        });
        losses.sum::<f64>() / LABELS.len() as f64
    }

    /// Zeros, a hundredth, and Haiku's: nothing beyond two deviations, which leaves a variance of 0.7737
    /// of the normal one's; the mean square of 40,000 draws is within 4 standard errors of it, 0.005 each.
    #[test]
    fn a_layer_starts_as_published() {
        let weights = |start| {
            let layer = classifier_of(start, 400, 100, 3, &Device::flex());
            assert_eq!(to_host(layer.bias.unwrap().val()), [0.0; 100]);
            to_host(layer.weight.val())
        };
        let mean_square =
            |values: &[f32]| values.iter().map(|v| f64::from(v * v)).sum::<f64>() / 40_000.0;
        assert_eq!(weights(HeadStart::ZERO), vec![0.0; 40_000]);
        assert!((mean_square(&weights(HeadStart::PROBE)) / 1e-4 - 1.0).abs() < 0.03);
        let haiku = weights(HeadStart::FanIn);
        assert!(haiku.iter().all(|v| v.abs() <= 2.0 / 20.0));
        let found = mean_square(&haiku) * 400.0;
        assert!((found - 0.7737).abs() < 0.02, "{found}");
    }

    #[test]
    fn the_loss_of_soft_targets_equals_a_loop() {
        let targets = Mix::blend(0.3).targets(&LABELS, CLASSES, 0.1, Peers::SOLO, &Device::flex());
        let expected = loop_cross_entropy(&to_host(logits()), &to_host(targets.clone()));
        let found = f64::from(to_host(soft_cross_entropy(logits(), targets))[0]);
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn targets_of_images_that_keep_all_of_themselves_are_their_labels() {
        for smoothing in [0.0, 0.1] {
            let whole = Mix::blend(1.0);
            let targets = whole.targets(&LABELS, CLASSES, smoothing, Peers::SOLO, &Device::flex());
            let soft = to_host(soft_cross_entropy(logits(), targets))[0];
            let hard = to_host(cross_entropy(logits(), &LABELS, smoothing))[0];
            assert!((soft / hard - 1.0).abs() < 1e-6, "{soft} is not {hard}");
        }
    }
}
