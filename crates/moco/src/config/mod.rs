//! What a run is made of: plain data, no behaviour.
//!
//! A [`RunConfig`] is complete: nothing in it is "auto" any more. It is written to
//! `config.toml` in the run's folder and is all that a resume needs. [`recipe`] holds the named
//! starting points, [`mod@resolve`] turns (recipe, flags, data set) into a `RunConfig`, and
//! [`parse_run`] reads TOML, refuses unknown keys and suggests the nearest one.

mod error;
mod facts;
mod keys;
mod parse;
mod recipe;
mod resolve;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;

pub use error::ConfigError;
pub use facts::DataFacts;
pub use keys::{BACKBONES, METHODS};
pub use parse::{parse_run, parse_tree, read_tree, set, set_value};
pub use recipe::{Recipe, load_recipe, recipes};
pub use resolve::{Resolved, resolve};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that determines a pretraining run, besides the images themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The method and its own settings.
    pub method: MethodConfig,
    /// The backbone.
    pub model: ModelConfig,
    /// Where the images are and what is done to them.
    pub data: DataConfig,
    /// Optimiser and learning-rate schedule.
    pub optim: OptimConfig,
    /// Length of the run, batch size, seed, checkpoints.
    pub train: TrainConfig,
    /// What is watched while training.
    pub monitor: MonitorConfig,
}

/// A method by name, with the settings that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name")]
pub enum MethodConfig {
    /// Momentum Contrast, He et al. 2020 (arXiv 1911.05722).
    #[serde(rename = "moco-v1")]
    MocoV1(MocoConfig),
    /// Improved baselines with Momentum Contrast, Chen et al. 2020 (arXiv 2003.04297).
    #[serde(rename = "moco-v2")]
    MocoV2(MocoConfig),
}

/// Settings of MoCo v1 and v2; the two differ in their defaults only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MocoConfig {
    /// Keys in the queue, K. Any positive number at least as large as the batch.
    pub queue: usize,
    /// Momentum of the key encoder's moving average, m, in 0..=1.
    pub momentum: f64,
    /// Softmax temperature of the loss, T, above 0.
    pub temperature: f64,
    /// Width of the query and key vectors, D.
    pub dim: usize,
    /// Projection head: one linear layer (v1) or a two-layer MLP (v2).
    pub head: HeadKind,
    /// Also use each second view as query against the first as key, and add both losses.
    pub symmetric: bool,
    /// Permute the key batch before the key encoder, so that split BatchNorm groups of query and
    /// key hold different images (v1 Sec. 3.3, "Shuffling BN").
    pub shuffle_keys: bool,
}

/// The projection head between backbone and loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// `Linear(features -> dim)` with bias.
    Linear,
    /// `Linear(features -> features)`, ReLU, `Linear(features -> dim)`, with biases.
    Mlp,
}

/// The backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `resnet18`, `resnet34`, `resnet50` or `resnet101`.
    pub backbone: String,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// First layers: `imagenet` (7x7 stride 2, max-pool) or `cifar` (3x3 stride 1, no pool).
    pub stem: StemKind,
    /// Start every residual branch at zero (its last BatchNorm's scale).
    pub zero_init_residual: bool,
    /// BatchNorm groups within a training batch; group g holds the samples n with n mod groups = g.
    /// 1 is ordinary BatchNorm. Emulates one statistic per GPU on a single device.
    pub bn_groups: usize,
}

/// First layers of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StemKind {
    /// 7x7 convolution with stride 2, then a 3x3 max-pool with stride 2.
    Imagenet,
    /// 3x3 convolution with stride 1, no pooling.
    Cifar,
}

/// Where the images are and what is done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder or `.tar` of images.
    pub path: PathBuf,
    /// One augmentation line per view, as text (see `moco_data::View`).
    pub views: Vec<String>,
    /// What is done to an image for evaluation, as text.
    pub eval_view: String,
    /// Share of unreadable images, in 0..=1, above which the run stops.
    pub max_bad_share: f64,
}

/// Optimiser and learning-rate schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate for a batch of `lr_batch` images; the rate used is `lr * batch_size / lr_batch`.
    pub lr: f64,
    /// Batch size that `lr` is quoted for.
    pub lr_batch: usize,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Weight decay, on every parameter including biases and BatchNorm, as the reference has it.
    pub weight_decay: f64,
    /// Shape of the learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Whether the schedule moves once per epoch or at every step.
    pub granularity: Granularity,
    /// Epochs of linear warm-up from 0.
    pub warmup_epochs: f64,
}

/// Shape of the learning rate over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// The base rate throughout.
    Constant,
    /// Half a cosine from the base rate to 0.
    Cosine,
    /// Multiply by `gamma` at each of the given epochs.
    Step {
        /// Epochs at which the rate drops, ascending.
        milestones: Vec<usize>,
        /// Factor of each drop.
        gamma: f64,
    },
}

/// How often a schedule moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// Once per epoch.
    Epoch,
    /// At every step.
    Step,
}

/// Length of the run, batch size, seed, checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the data; schedules are stretched over this many.
    pub epochs: usize,
    /// Images per optimiser step, over all devices.
    pub batch_size: usize,
    /// Stop after this many steps even if epochs are left. Does not change the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
    /// Write a checkpoint every so many steps besides the one at each epoch's end; 0 for none.
    pub checkpoint_steps: usize,
    /// Checkpoints kept; older ones are deleted.
    pub keep_checkpoints: usize,
    /// Steps between two lines of `metrics.jsonl`.
    pub log_steps: usize,
}

/// What is watched while training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorConfig {
    /// Epochs between two kNN evaluations (needs class folders); 0 for none.
    pub knn_epochs: usize,
    /// Neighbours.
    pub knn_k: usize,
    /// Temperature of the neighbours' weights.
    pub knn_temperature: f64,
    /// Feature that is compared.
    pub knn_feature: FeatureKind,
    /// Labelled images to classify; without it every tenth training image is classified by the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knn_test: Option<PathBuf>,
}

/// Which output of the encoder a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// The backbone's pooled output.
    Backbone,
    /// The projection head's output.
    Head,
}
