//! What a paper does with a pre-trained network, as data: the linear probe, and what is changed before
//! fine-tuning.

use super::{FeatureKind, Granularity};

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

impl Protocol {
    /// MoCo's (He et al. 2020, arXiv 1911.05722, Sec. 4.1).
    pub fn moco() -> Protocol {
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
    pub fn cosine() -> Protocol {
        Protocol {
            lr_batch: Some(256),
            decay: ProbeDecay::Cosine,
            granularity: Granularity::Epoch,
            ..Protocol::moco()
        }
    }
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

/// The first weights of a new layer; its biases are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadStart {
    /// Normal with this standard deviation; 0 is a layer of zeros. MAE's and DeiT's cut theirs off at
    /// 2, a hundred deviations and more.
    Normal(f64),
    /// Normal with variance 1 / inputs, cut off at two standard deviations: Haiku's default.
    FanIn,
}

impl HeadStart {
    /// As most references start their probes.
    pub const PROBE: Self = Self::Normal(0.01);
    /// All zeros.
    pub const ZERO: Self = Self::Normal(0.0);
}

/// From a pre-trained network to what the new layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// The backbone's feature, as it was pre-trained.
    Own,
    /// The mean of a transformer's patch tokens, through a new LayerNorm in place of the final one.
    PatchMean,
    /// The first layer of the projection head, which is trained too.
    Projector,
}

/// The changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refit {
    /// What the new layer sees.
    pub readout: Readout,
    /// Probability that drop-path leaves out a residual branch of a transformer's last block, in
    /// [0, 1); earlier blocks in proportion. Another network takes no notice of it.
    pub drop_path: f64,
}

impl Refit {
    /// The network as it is.
    pub const NOTHING: Refit = Refit { readout: Readout::Own, drop_path: 0.0 };
}
