//! What each method's paper does with a pre-trained network: one row per method.
//!
//! Where paper and published code differ, this is the code. The images are augmented alike in all
//! of them, by a random crop and a flip, and the layer starts alike.

use super::HeadStart;
use crate::config::{
    DecayScope, FeatureKind, Granularity, LarsFlavor, MethodConfig, RuleConfig, RunConfig,
};
use crate::models::NetworkSpec;
use crate::schedule::{Decay, RateSchedule};

/// Momentum of every probe's optimiser.
const MOMENTUM: f64 = 0.9;
/// LARS's trust coefficient.
const TRUST: f64 = 0.001;
/// Width of DINO's ViT-B, from which on it probes another feature.
const BASE_WIDTH: usize = 768;

/// Steps of an epoch that a batch in proportion to the images leaves: about MAE's on ImageNet.
const STEPS: usize = 64;
/// No batch is made smaller than this.
const LEAST_BATCH: usize = 32;

/// How a linear probe is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// What moves the layer.
    pub optimizer: ProbeOptimizer,
    /// Learning rate, for `lr_batch` images if that is given.
    pub lr: f64,
    /// Batch size that `lr` is quoted for; without one `lr` is the rate of any batch.
    pub lr_batch: Option<usize>,
    /// Shape of the rate over the run.
    pub decay: ProbeDecay,
    /// Whether the rate moves once per epoch or at every step.
    pub granularity: Granularity,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Output of the encoder that the layer sees.
    pub feature: FeatureKind,
    /// BatchNorm without scale and shift before the layer.
    pub normalize: bool,
    /// The layer's first weights.
    pub head: HeadStart,
}

/// How a probe's rate falls after its warm-up.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeDecay {
    /// Along half a cosine to 0.
    Cosine,
    /// Multiplied by a factor, again and again.
    Drops {
        /// Epochs after which it falls, ascending, warm-up included.
        epochs: Vec<f64>,
        /// What it is multiplied by each time.
        factor: f64,
    },
}

impl ProbeDecay {
    /// To a tenth after each of these epochs.
    pub fn tenfold(epochs: &[f64]) -> Self {
        Self::Drops { epochs: epochs.to_vec(), factor: 0.1 }
    }

    fn as_schedule(&self) -> Decay {
        match self {
            Self::Cosine => Decay::Cosine(0.0),
            Self::Drops { epochs, factor } => Decay::drops(epochs.iter().copied(), *factor),
        }
    }
}

/// What moves a probe's layer, at a momentum of 0.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOptimizer {
    /// Stochastic gradient descent.
    Sgd,
    /// SGD with Nesterov's momentum.
    Nesterov,
    /// MAE's layer-wise rates, for the weights and not for the bias.
    Lars,
    /// apex's, without clipping, for both.
    Larc,
}

impl ProbeOptimizer {
    /// The rule, and what weight decay and adaptation apply to.
    pub fn rule(self) -> (RuleConfig, DecayScope) {
        let lars = |flavor| RuleConfig::Lars { momentum: MOMENTUM, trust: TRUST, flavor };
        match self {
            Self::Sgd => (RuleConfig::Sgd { momentum: MOMENTUM }, DecayScope::All),
            Self::Nesterov => (RuleConfig::Nesterov { momentum: MOMENTUM }, DecayScope::All),
            Self::Lars => (lars(LarsFlavor::Outside), DecayScope::Matrices),
            Self::Larc => (lars(LarsFlavor::Larc), DecayScope::All),
        }
    }
}

/// MoCo's (He et al. 2020, arXiv 1911.05722, Sec. 4.1).
fn moco() -> Protocol {
    Protocol {
        optimizer: ProbeOptimizer::Sgd,
        lr: 30.0,
        lr_batch: None,
        decay: ProbeDecay::tenfold(&[60.0, 80.0]),
        granularity: Granularity::Step,
        warmup_epochs: 0.0,
        weight_decay: 0.0,
        epochs: 100,
        batch_size: 256,
        feature: FeatureKind::Backbone,
        normalize: false,
        head: HeadStart::PROBE,
    }
}

/// What most later ones share: a rate quoted for 256 images, and a cosine that moves per epoch.
fn cosine() -> Protocol {
    Protocol {
        lr_batch: Some(256),
        decay: ProbeDecay::Cosine,
        granularity: Granularity::Epoch,
        ..moco()
    }
}

impl Protocol {
    /// The linear probe of a run's method.
    ///
    /// InstDisc and InvaSpread, measured by nearest neighbours, have MoCo's.
    ///
    /// # Panics
    /// If the configuration was not validated.
    pub fn of(config: &RunConfig) -> Self {
        use ProbeOptimizer::{Larc, Lars, Nesterov};
        let width = NetworkSpec::of(config).vit().map(|vit| vit.width);
        match &config.method {
            MethodConfig::InstDisc(_)
            | MethodConfig::InvaSpread(_)
            | MethodConfig::MocoV1(_)
            | MethodConfig::MocoV2(_) => moco(),
            // github.com/HobbitLong/CMC, LinearProbing.py, on the features of both encoders side by
            // side; a higher rate for networks of twice the width.
            MethodConfig::Cmc(_) => {
                let wide = config.model.resnet().is_some_and(|resnet| resnet.width > 64);
                let decay = ProbeDecay::Drops { epochs: vec![30.0, 40.0, 50.0], factor: 0.2 };
                Self { lr: if wide { 50.0 } else { 30.0 }, decay, epochs: 60, ..moco() }
            }
            // Sec. 3.2: 50, 25 and 10 thousand steps of 2048 images, 136 epochs of ImageNet.
            MethodConfig::Cpc(_) => {
                let decay = ProbeDecay::tenfold(&[80.0, 120.0]);
                Self { lr: 0.1, decay, epochs: 136, batch_size: 2048, ..moco() }
            }
            // github.com/facebookresearch/moco-v3, CONFIG.md: its own rate for transformers.
            MethodConfig::MocoV3(_) => {
                let lr = if width.is_some() { 3.0 } else { 0.1 };
                Self { lr, epochs: 90, batch_size: 1024, ..cosine() }
            }
            // github.com/google-research/simclr, README, for CIFAR-10; ImageNet has 90 epochs of
            // 4096 images at the same rate per image (arXiv 2002.05709, App. B.6).
            MethodConfig::SimClr(_) | MethodConfig::SimClrV2(_) => Self {
                optimizer: Nesterov,
                lr: 0.1,
                granularity: Granularity::Step,
                batch_size: 512,
                head: HeadStart::ZERO,
                ..cosine()
            },
            // github.com/google-deepmind/deepmind-research, byol/configs/eval.py; arXiv 2006.07733,
            // App. D.1, which picks the rate among five.
            MethodConfig::Byol(_) => Self {
                optimizer: Nesterov,
                lr: 0.2,
                granularity: Granularity::Step,
                epochs: 80,
                batch_size: 1024,
                head: HeadStart::FanIn,
                ..cosine()
            },
            // arXiv 2011.10566, App. A, and github.com/facebookresearch/simsiam, main_lincls.py.
            MethodConfig::SimSiam(_) => {
                Self { optimizer: Larc, lr: 0.1, epochs: 90, batch_size: 4096, ..cosine() }
            }
            // github.com/facebookresearch/swav, eval_linear.py: the rate does not follow the batch.
            MethodConfig::SwAv(_) => {
                Self { lr: 0.3, lr_batch: None, weight_decay: 1e-6, ..cosine() }
            }
            // github.com/facebookresearch/dino, eval_linear.py.
            MethodConfig::Dino(_) => Self { lr: 0.001, feature: dino_feature(width), ..cosine() },
            // arXiv 2111.06377, App. A.1, Table 10.
            MethodConfig::Mae(_) => Self {
                optimizer: Lars,
                lr: 0.1,
                granularity: Granularity::Step,
                warmup_epochs: 10.0,
                epochs: 90,
                batch_size: 16_384,
                normalize: true,
                ..cosine()
            },
        }
    }

    /// This protocol for a data set of so many images. Where the rate follows the batch, batches are a
    /// 64th of the images at most, since a few steps an epoch teach a layer nothing; the rate stays
    /// that of the published batch, since LARS moves by a share of the weights at each step.
    pub fn fitted(self, images: usize) -> Self {
        let fitting = (images / STEPS).max(LEAST_BATCH);
        match self.lr_batch {
            Some(_) if self.batch_size > fitting => {
                let lr = self.peak(self.batch_size);
                Self { batch_size: fitting.min(images), lr, lr_batch: None, ..self }
            }
            _ => Self { batch_size: self.batch_size.min(images), ..self },
        }
    }

    /// The same over so many epochs, with warm-up and drops in proportion.
    pub fn over(self, epochs: usize) -> Self {
        let now = |epoch: f64| epoch * epochs as f64 / self.epochs as f64;
        let decay = match self.decay {
            ProbeDecay::Cosine => ProbeDecay::Cosine,
            ProbeDecay::Drops { epochs, factor } => {
                ProbeDecay::Drops { epochs: epochs.into_iter().map(now).collect(), factor }
            }
        };
        Self { decay, warmup_epochs: now(self.warmup_epochs), epochs, ..self }
    }

    /// The highest rate of a batch of `images`.
    pub fn peak(&self, images: usize) -> f64 {
        self.lr_batch.map_or(self.lr, |quoted| self.lr * images as f64 / quoted as f64)
    }

    /// The rates of a run in batches of `images`.
    pub fn schedule(&self, images: usize) -> RateSchedule {
        RateSchedule {
            peak: self.peak(images),
            warmup_epochs: self.warmup_epochs,
            start: 0.0,
            inclusive: false,
            epochs: self.epochs,
            decay: self.decay.as_schedule(),
            granularity: self.granularity,
        }
    }
}

/// DINO's feature (Caron et al. 2021, arXiv 2104.14294, App. F.2), by a transformer's width.
fn dino_feature(width: Option<usize>) -> FeatureKind {
    match width {
        Some(BASE_WIDTH..) => FeatureKind::ClassAndPatches,
        Some(_) => FeatureKind::LastBlocks,
        None => FeatureKind::Backbone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_fall_where_a_share_of_the_run_is_over() {
        let rates = moco().over(2).schedule(256);
        let factor = |step: usize| match step {
            0..6 => 1.0,
            6..8 => 0.1,
            _ => 0.01,
        };
        for step in 0..10 {
            assert!((rates.at(step, 5) / 30.0 - factor(step)).abs() < 1e-15, "step {step}");
        }
    }
}
