//! What settings begin with where nothing is chosen: the sizes that they follow, and what a method
//! asks of backbone and optimiser.

use super::DataFacts;

/// Up to this side in pixels an image is small: CIFAR stem, no blur, a narrow network.
pub const SMALL: usize = 64;
/// Images from which a data set counts as large as ImageNet.
const MANY_IMAGES: usize = 500_000;

/// Sizes that defaults follow.
#[derive(Clone, Debug)]
pub struct Scale<'a> {
    /// What the data set is like.
    pub facts: &'a DataFacts,
    /// Side of the first view in pixels.
    pub pixels: usize,
    /// Images per step.
    pub batch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Whether the backbone is a vision transformer.
    pub vit: bool,
}

impl Scale<'_> {
    /// Whether images are small, as CIFAR-10's.
    pub fn small(&self) -> bool {
        self.pixels <= SMALL
    }

    /// Whether there are as many images as in ImageNet.
    pub fn many_images(&self) -> bool {
        self.facts.images >= MANY_IMAGES
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.facts.images / self.batch.max(1)
    }
}

/// The largest power of two up to `n`, 1 for 0.
pub fn power_of_two_up_to(n: usize) -> usize {
    n.checked_ilog2().map_or(1, |bits| 1 << bits)
}

/// What a method asks of a backbone.
#[derive(Clone, Debug, PartialEq)]
pub struct BackboneDefaults {
    /// A vision transformer instead of a residual network.
    pub transformer: bool,
    /// Of residual networks: channels of the first stage as published; half of it for small images.
    pub width: usize,
    /// Channels of the first layer for images that are not small, where stages are of another width.
    pub stem_width: Option<usize>,
    /// Stages of residual blocks.
    pub stages: usize,
    /// Normalisation, e.g. `batch`.
    pub norm: &'static str,
    /// How convolutions are drawn, `fan-out` or `torch`.
    pub init: &'static str,
    /// Every residual branch starts at zero.
    pub zero_init_residual: bool,
    /// BatchNorm groups of 32 images, 8 at most, as on several GPUs.
    pub split_norm: bool,
    /// Of transformers: position embedding, `learned` or `sincos`.
    pub positions: &'static str,
    /// Chance of dropping the last block's branches.
    pub drop_path: f64,
    /// A linear patch projection stays as it was drawn.
    pub freeze_patch: bool,
}

impl BackboneDefaults {
    /// torchvision's residual network with one BatchNorm for the batch, timm's transformer with fixed
    /// positions: what no paper here changes unless its method says so.
    pub const PLAIN: BackboneDefaults = BackboneDefaults {
        transformer: false,
        width: 64,
        stem_width: None,
        stages: 4,
        norm: "batch",
        init: "fan-out",
        zero_init_residual: false,
        split_norm: false,
        positions: "sincos",
        drop_path: 0.0,
        freeze_patch: false,
    };
}

/// A published setting of the optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimDefaults {
    /// Name of the update rule.
    pub optimizer: &'static str,
    /// Learning rate for `lr_batch` images.
    pub lr: f64,
    /// Batch that the rate is quoted for.
    pub lr_batch: i64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether weight decay depends on the data, as a note then says.
    pub decay_follows_data: bool,
    /// Weight decay at the end, and the largest norm of a gradient, where there are such.
    pub weight_decay_end: Option<f64>,
    /// The largest norm of a parameter's gradient.
    pub clip: Option<f64>,
    /// What weight decay applies to, `all` or `matrices`.
    pub decay: &'static str,
    /// Shape of the rate, e.g. `cosine`.
    pub schedule: &'static str,
    /// The rate at the end of a cosine.
    pub schedule_end: f64,
    /// How often the rate moves, `epoch` or `step`.
    pub granularity: &'static str,
    /// Share of the run that warms up, and epochs at most.
    pub warmup: (f64, f64),
    /// Adam's decay of mean and mean square, should it be chosen.
    pub betas: (f64, f64),
    /// LARS's form, should it be chosen.
    pub flavor: &'static str,
    /// Whether a batch in parts is compared as a whole; `None` where that has no meaning or is not
    /// worth its time.
    pub accumulate_exact: Option<bool>,
}

impl OptimDefaults {
    /// Stochastic gradient descent with a cosine that moves at every step.
    pub const SGD: OptimDefaults = OptimDefaults {
        optimizer: "sgd",
        lr: 0.03,
        lr_batch: 256,
        weight_decay: 1e-4,
        decay_follows_data: true,
        weight_decay_end: None,
        clip: None,
        decay: "all",
        schedule: "cosine",
        schedule_end: 0.0,
        granularity: "step",
        warmup: (0.0, 0.0),
        betas: (0.9, 0.999),
        flavor: "outside",
        accumulate_exact: None,
    };

    /// LARS with a tenth of the run, 10 epochs at most, as warm-up.
    pub const LARS: OptimDefaults = OptimDefaults {
        optimizer: "lars",
        lr: 0.3,
        weight_decay: 1e-6,
        decay_follows_data: false,
        decay: "matrices",
        warmup: (0.1, 10.0),
        ..OptimDefaults::SGD
    };

    /// AdamW with a tenth of the run, 40 epochs at most, as warm-up.
    pub const ADAMW: OptimDefaults = OptimDefaults {
        optimizer: "adamw",
        lr: 1.5e-4,
        weight_decay: 0.05,
        decay_follows_data: false,
        decay: "matrices",
        warmup: (0.1, 40.0),
        ..OptimDefaults::SGD
    };
}
