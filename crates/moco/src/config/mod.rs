//! What a run is made of: plain data, no behaviour.
//!
//! A [`RunConfig`] is complete: nothing in it is "auto" any more. It is written to
//! `config.toml` in the run's folder and is all that a resume needs. [`recipe`] holds the named
//! starting points, [`mod@resolve`] turns (recipe, flags, data set) into a `RunConfig`, and
//! [`parse_run`] reads TOML, refuses unknown keys and suggests the nearest one.

mod change;
mod choices;
mod error;
mod facts;
mod keys;
mod method;
mod model;
mod optim;
mod parse;
mod precision;
mod recipe;
mod resolve;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;

pub use change::{CHANGEABLE, Difference, differences};
pub use choices::Choices;
pub use error::ConfigError;
pub use facts::DataFacts;
pub use keys::{BACKBONES, METHODS};
pub use method::{
    BankLoss, ByolConfig, CmcConfig, ContextPadding, CpcConfig, DinoConfig, HeadKind,
    InstDiscConfig, InvaSpreadConfig, InvaSpreadGradient, MaeConfig, MethodConfig, MocoConfig,
    MocoV3Config, Reduction, SimClrConfig, SimSiamConfig, SwAvConfig, kept_patches,
};
pub use model::{
    ConvInit, FamilyConfig, MlpKind, ModelConfig, NormKind, PatchStem, Positions, ResNetConfig,
    StemKind, TokenPool, VitModelConfig,
};
pub use optim::{
    DecayScope, Granularity, LarsFlavor, LrScaling, OptimConfig, RuleConfig, ScheduleConfig,
};
pub use parse::{parse_run, parse_tree, read_tree, set, set_value};
pub use precision::Precision;
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
    /// Weights that the run starts from, in place of random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitConfig>,
    /// Where the images are and what is done to them.
    pub data: DataConfig,
    /// Optimiser and learning-rate schedule.
    pub optim: OptimConfig,
    /// Length of the run, batch size, seed, checkpoints.
    pub train: TrainConfig,
    /// What is watched while training.
    pub monitor: MonitorConfig,
}

/// Weights that a run starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// A file, a folder, an `https://` address or `hf://organisation/name`.
    pub source: String,
    /// Layout of the file, where its keys do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Which of the file's networks, e.g. `teacher`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Attention heads, where the file does not tell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Licence of the weights, where it is known; every file made from them says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
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
    /// Share of unreadable images, in 0..=1, above which the run stops. Unless it is 0, up to 3 are
    /// let pass in any case, but of fewer than 30 images no more than a tenth.
    pub max_bad_share: f64,
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
    /// What large products are computed in; left out is f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
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
    /// Whether a linear probe is fitted wherever kNN is measured, on the same features.
    #[serde(default)]
    pub probe: bool,
    /// Epochs between two measurements of quality without labels; 0 for none, as in runs of early
    /// versions.
    #[serde(default)]
    pub quality_epochs: usize,
    /// Images that quality without labels is measured on, spread over the data set.
    #[serde(default = "quality_images")]
    pub quality_images: usize,
    /// Neighbours are the rows of the memory bank, as InstDisc's code has it while it trains, instead
    /// of features of the training images. Of methods with such a bank alone; left out is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knn_bank: Option<bool>,
}

impl MonitorConfig {
    /// Whether neighbours are the rows of the memory bank.
    pub fn asks_bank(&self) -> bool {
        self.knn_bank == Some(true)
    }
}

/// What an early version's configuration, which has no such setting, stands for.
fn quality_images() -> usize {
    2000
}

/// Which output of the encoder a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// The backbone's pooled output.
    Backbone,
    /// The projection head's output.
    Head,
    /// The class tokens of a transformer's last four blocks, side by side: DINO's linear probe of
    /// ViT-S. No other network has it.
    LastBlocks,
    /// A transformer's class token and the mean of its patch tokens, side by side: DINO's linear
    /// probe of ViT-B. No other network has it.
    ClassAndPatches,
}

impl FeatureKind {
    /// The feature's name, as in `--feature`.
    pub fn name(self) -> &'static str {
        match self {
            FeatureKind::Backbone => "backbone",
            FeatureKind::Head => "head",
            FeatureKind::LastBlocks => "last-blocks",
            FeatureKind::ClassAndPatches => "class-and-patches",
        }
    }
}
