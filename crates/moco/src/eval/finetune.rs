//! Fine-tuning: the whole network goes on learning, with labels.
//!
//! A linear layer is put on the network, where [`Refit`] says, and both are trained, the layers
//! near the image at lower rates (Clark et al. 2020, arXiv 2003.10555, Sec. 3.2; Bao et al. 2022,
//! arXiv 2106.08254), as MAE does. With few labels this is what tells encoders apart.

use super::classifier::{
    Classifier, cross_entropy, next_batch, soft_cross_entropy, training_images,
};
use super::encode::{Seen, encode};
use super::published::ADAMW;
use super::{Accuracy, Epochs, EvalError, FrozenEncoder, HeadStart, Mix, Mixing, Refit};
use crate::batch::{Batch, pixels_to_tensor, to_host};
use crate::config::{DecayScope, Granularity, RuleConfig};
use crate::models::Encode;
use crate::nn::{Mode, copy_tensors, share};
use crate::optim::Optimizer;
use crate::schedule::{Decay, RateSchedule};
use burn::tensor::{Device, Tensor};
use moco_data::{Dataset, View};
use std::sync::Arc;

/// Test images per forward pass.
const TEST_BATCH: usize = 128;

/// Settings of fine-tuning; the defaults are MAE's for ViT-B, without its stronger augmentation and
/// its mixing of images.
#[derive(Clone, Debug)]
pub struct FineTune {
    /// What is changed about the network first.
    pub refit: Refit,
    /// Augmentation of training images.
    pub view: View,
    /// Passes over the training images.
    pub epochs: usize,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Images per step.
    pub batch_size: usize,
    /// What moves the weights.
    pub rule: RuleConfig,
    /// What weight decay, and LARS's adaptation, apply to.
    pub scope: DecayScope,
    /// Whether they apply to the new layer's matrix, too; in SimCLR's code they do not.
    pub head_adapted: bool,
    /// The new layer's first weights.
    pub head: HeadStart,
    /// Learning rate of the new layer, for this batch size.
    pub lr: f64,
    /// The rate at the end, reached along half a cosine.
    pub lr_end: f64,
    /// Factor on the rate from one layer to the one below it; 1 trains all alike.
    pub layer_decay: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Share of each target that all classes share.
    pub smoothing: f64,
    /// How training images are mixed with each other.
    pub mixing: Mixing,
    /// Seed of order, augmentation, mixing and the new layer.
    pub seed: u64,
    /// Threads that decode and augment.
    pub threads: usize,
    /// Epochs between two tests on the way; the last epoch is tested in any case. 0 tests it alone.
    pub test_epochs: usize,
}

impl FineTune {
    /// The usual settings on images augmented by `view`: 5e-4 per 256 images, 5 % warm-up.
    pub fn new(
        refit: Refit,
        view: View,
        epochs: usize,
        batch_size: usize,
        seed: u64,
        threads: usize,
    ) -> Self {
        Self {
            refit,
            view,
            epochs,
            warmup_epochs: 0.05 * epochs as f64,
            batch_size,
            rule: ADAMW,
            scope: DecayScope::Matrices,
            head_adapted: true,
            head: HeadStart::PROBE,
            lr: 5e-4 * batch_size as f64 / 256.0,
            lr_end: 0.0,
            layer_decay: 0.65,
            weight_decay: 0.05,
            smoothing: 0.1,
            mixing: Mixing::default(),
            seed,
            threads,
            test_epochs: 1,
        }
    }

    /// The rates of the new layer.
    fn rates(&self) -> RateSchedule {
        RateSchedule {
            peak: self.lr,
            warmup_epochs: self.warmup_epochs,
            start: 0.0,
            inclusive: false,
            epochs: self.epochs,
            decay: Decay::Cosine(self.lr_end.min(self.lr)),
            granularity: Granularity::Step,
        }
    }
}

/// A classifier after its training.
pub struct Tuned {
    /// What was measured on the way.
    pub epochs: Epochs,
    /// The network after the last epoch, on the autodiff side of its device.
    pub net: Classifier,
}

/// Trains the encoder of `start` and a new layer on `train`, and scores them on `test`: after the last
/// epoch, and after others as [`FineTune::test_epochs`] says.
///
/// `encoder` is a network of the same shape on the autodiff side of the device; it is given the
/// weights of `start`. `progress` hears (steps done, steps in all). A collective call of the ranks that
/// share `start`, each of which computes its share of every batch.
///
/// # Errors
/// [`EvalError`] when the training images cannot be read, batches do not split over the ranks, or the
/// network diverges.
///
/// # Panics
/// If the encoder lacks what is read of it, see [`Classifier::refitted`], or if batches do not split into
/// its BatchNorm groups.
pub fn fine_tune(
    start: &mut FrozenEncoder,
    mut encoder: Box<dyn Encode>,
    train: Arc<Dataset>,
    test: &Dataset,
    config: &FineTune,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Tuned, EvalError> {
    let device = start.device().clone();
    copy_tensors(start.encoder.as_mut(), encoder.as_mut());
    let classes = train.class_names().len();
    let graph = device.clone().autodiff();
    let mut net = Classifier::refitted(encoder, &config.refit, classes, config.seed, &graph);
    net.start_head(config.head, config.seed);
    let peers = start.peers();
    share(&mut net, peers);

    let FineTune { view, batch_size, seed, threads, .. } = config;
    let mut loader = training_images(&train, view, *batch_size, *seed, *threads, peers)?;
    let mut optimizer = Optimizer::of_rule(config.rule.clone(), config.scope, None, &mut net);
    if !config.head_adapted {
        optimizer.leave_out("head.");
    }
    let layers = Layers::of(&mut net);
    let (rates, per_epoch) = (config.rates(), loader.steps_per_epoch());
    let total = config.epochs * per_epoch;
    let mut epochs = Epochs::default();
    for step in 0..total {
        let (batch, labels) = next_batch(&mut loader, &train, peers)?;
        let images = Batch::new(batch, &device).views.remove(0);
        let mix = config.mixing.draw(config.view.size(), config.seed, step as u64);
        let loss = batch_loss(&mut net, images, &labels, mix, config.smoothing);
        let lr = rates.at(step, per_epoch);
        net.learn(&loss, &mut optimizer, config.weight_decay, |name| {
            lr * config.layer_decay.powi(layers.below_top(name))
        });
        progress(step + 1, total);
        let epoch = (step + 1) / per_epoch;
        let due = config.test_epochs > 0 && epoch.is_multiple_of(config.test_epochs);
        if (step + 1).is_multiple_of(per_epoch) && (due || epoch == config.epochs) {
            epochs.push(epoch, score(&mut net, test, &start.view, config.threads, &device)?);
        }
    }
    Ok(Tuned { epochs, net })
}

/// The loss of a batch, mixed or as it is.
fn batch_loss(
    net: &mut Classifier,
    images: Tensor<4>,
    labels: &[u32],
    mix: Option<Mix>,
    smoothing: f64,
) -> Tensor<1> {
    let Some(mix) = mix else {
        return cross_entropy(net.forward(images, Mode::Train), labels, smoothing);
    };
    let device = images.device();
    let peers = net.peers;
    let logits = net.forward(mix.images(images, labels.len(), peers), Mode::Train);
    let [_, classes] = logits.dims();
    soft_cross_entropy(logits, mix.targets(labels, classes, smoothing, peers, &device))
}

/// Which layer of a network a parameter belongs to, counted from the image.
struct Layers {
    top: i32,
}

impl Layers {
    fn of(net: &mut Classifier) -> Self {
        let mut top = 0;
        crate::nn::for_each_param(net, |name, _| top = top.max(Self::number(name).unwrap_or(0)));
        Self { top: top + 1 }
    }

    /// Blocks of a transformer and stages of a residual network count from 1; what comes before
    /// them is 0. `None` is what comes after them.
    fn number(name: &str) -> Option<i32> {
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            let digits = part
                .strip_prefix("layer")
                .or_else(|| (part == "blocks").then(|| parts.peek().copied().unwrap_or_default()));
            if let Some(number) = digits.and_then(|digits| digits.parse::<i32>().ok()) {
                return Some(if part == "blocks" { number + 1 } else { number });
            }
        }
        let before = ["conv1", "bn1", "patch_embed", "cls_token", "pos_embed"];
        before.iter().any(|start| name.split('.').any(|part| part == *start)).then_some(0)
    }

    /// Layers between a parameter's and the new layer.
    fn below_top(&self, name: &str) -> i32 {
        self.top - Self::number(name).unwrap_or(self.top)
    }
}

/// How well a classifier tells the images of `test` apart, seen through `view`. A collective call of the
/// ranks that share it; what comes of it does not depend on their number.
///
/// # Errors
/// [`EvalError`] when the images cannot be read or a score is no finite number.
pub fn score(
    net: &mut Classifier,
    test: &Dataset,
    view: &View,
    threads: usize,
    device: &Device,
) -> Result<Accuracy, EvalError> {
    let indices: Vec<usize> = (0..test.len()).collect();
    let ([height, width], count) = (view.size(), view.count());
    let seen =
        Seen { dataset: test, indices: &indices, view, draws: 1, at_once: TEST_BATCH, threads };
    let encoded = encode(seen, net.peers, &mut |_, _| (), &mut |n, pixels| {
        let images = pixels_to_tensor(pixels, [n * count, height, width], device);
        to_host(net.forward(images, Mode::Eval))
    })?;
    let labels: Vec<u32> = encoded.indices.iter().filter_map(|&i| test.label(i)).collect();
    Accuracy::of_classifier(&encoded.values, net.classes(), &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FeatureKind;
    use crate::nn::{Module, Visitor};
    use moco_peers::Peers;

    /// A network without weights: the mean of each channel.
    struct Means;

    impl Module for Means {
        fn visit(&mut self, _: &mut Visitor<'_>) {}
    }

    impl Encode for Means {
        fn embed(&mut self, x: Tensor<4>, _: FeatureKind, _: Mode) -> Tensor<2> {
            let [n, height, width, channels] = x.dims();
            x.reshape([n, height * width, channels]).mean_dim(1).reshape([n, channels])
        }

        fn width(&self, _: FeatureKind) -> usize {
            3
        }

        fn backbone(&mut self) -> &mut dyn Module {
            self
        }
    }

    #[test]
    fn a_mixed_batch_is_seen_mixed_and_judged_by_mixed_targets() {
        let device = Device::flex();
        let images = |values: [f32; 2]| {
            let pixels = values.map(|value| [value; 6]).concat();
            pixels_to_tensor(pixels, [2, 1, 2], &device)
        };
        let mut net = Classifier::new(Box::new(Means), 2, 0, &device);
        let mut loss =
            |values, mix| to_host(batch_loss(&mut net, images(values), &[0, 1], mix, 0.1));
        let mix = || Mix::blend(0.75);
        let (plain, mixed) = (loss([1.0, 5.0], None), loss([1.0, 5.0], Some(mix())));

        let hard = cross_entropy(net.forward(images([1.0, 5.0]), Mode::Train), &[0, 1], 0.1);
        assert_eq!(plain, to_host(hard));
        let targets = mix().targets(&[0, 1], 2, 0.1, Peers::SOLO, &device);
        let soft = soft_cross_entropy(net.forward(images([2.0, 4.0]), Mode::Train), targets);
        assert_eq!(mixed, to_host(soft));
        assert_ne!(mixed, plain);
    }

    #[test]
    fn layers_are_counted_from_the_image() {
        let number = |name: &str| Layers::number(name);
        assert_eq!(number("backbone.conv1.weight"), Some(0));
        assert_eq!(number("backbone.layer1.0.conv1.weight"), Some(1));
        assert_eq!(number("backbone.layer4.1.bn2.bias"), Some(4));
        assert_eq!(number("backbone.patch_embed.proj.weight"), Some(0));
        assert_eq!(number("backbone.blocks.0.attn.qkv.weight"), Some(1));
        assert_eq!(number("backbone.blocks.11.mlp.fc1.bias"), Some(12));
        assert_eq!(number("backbone.norm.weight"), None);
        assert_eq!(number("backbone.fc_norm.weight"), None);
        assert_eq!(number("projector.0.weight"), None);
        assert_eq!(number("head.weight"), None);
        let layers = Layers { top: 13 };
        assert_eq!(layers.below_top("head.weight"), 0);
        assert_eq!(layers.below_top("backbone.norm.bias"), 0);
        assert_eq!(layers.below_top("backbone.blocks.11.norm1.bias"), 1);
        assert_eq!(layers.below_top("backbone.cls_token"), 13);
    }
}
