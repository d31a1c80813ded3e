//! What a run is made of: plain data.
//!
//! A [`RunConfig`] is complete: nothing in it is "auto" any more. Each section is a struct whose fields
//! say what may be written for them, see [`field`]; `[method]` is a name and values, since no method is
//! known here. `moco::plan` turns recipe, flags and data set into a configuration that is checked.

mod defaults;
mod draft;
mod error;
mod facts;
pub mod field;
mod method;
mod model;
mod optim;
mod precision;
mod probe;
mod recipe;
mod suggest;
pub(crate) mod tree;

pub use defaults::{BackboneDefaults, OptimDefaults, SMALL, Scale, power_of_two_up_to};
pub use draft::Draft;
pub use error::ConfigError;
pub(crate) use error::shown;
pub use facts::DataFacts;
pub use field::Field;
pub use method::MethodConfig;
pub use model::{
    BACKBONES, ConvInit, FamilyConfig, MlpKind, ModelConfig, NormKind, PatchStem, Positions,
    ResNetConfig, StemKind, TokenPool, VitModelConfig,
};
pub use optim::{
    DecayScope, Granularity, LarsFlavor, LrScaling, OptimConfig, RuleConfig, ScheduleConfig,
};
pub(crate) use optim::{OPTIMIZERS, RULE_FIELDS, SCHEDULE_FIELDS};
pub use precision::Precision;
pub use probe::{HeadStart, ProbeDecay, ProbeOptimizer, Protocol, Readout, Refit};
pub use recipe::Recipe;
pub(crate) use suggest::nearest;

use crate::settings;
use field::{FLAG, MANY, POSITIVE, SHARE, TEXT, TEXTS, count, one_of};
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

impl RunConfig {
    /// The configuration as TOML, readable by `moco::plan::parse_run`.
    ///
    /// # Errors
    /// A path that is not UTF-8, or a number above 2^63 - 1: TOML has neither.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| ConfigError::Invalid(error.to_string()))
    }

    /// Images that a loss compares at a time: the batch, or a part of one that is computed in parts.
    pub fn compared_images(&self) -> usize {
        match self.optim.exact_parts() {
            true => self.train.batch_size,
            false => self.train.batch_size / self.optim.accumulate,
        }
    }

    /// The error of a batch whose parts are single images, and why they must not be.
    pub(crate) fn single_images(&self, why: &str) -> ConfigError {
        let (batch, parts) = (self.train.batch_size, self.optim.accumulate);
        ConfigError::Invalid(format!(
            "train.batch_size = {batch}: in {parts} parts it leaves images alone, and {why}, so \
             raise it to at least {}",
            2 * parts
        ))
    }

    /// The error of a method that no transformer suits.
    pub(crate) fn needs_resnet(&self) -> ConfigError {
        ConfigError::Invalid(format!(
            "model.backbone = {}: {} is made of residual networks, so choose a resnet",
            self.model.backbone,
            self.method.name()
        ))
    }
}

settings! {
    /// Weights that a run starts from.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct InitConfig {
        /// A file, a folder, an `https://` address or `hf://organisation/name`.
        pub source: String => TEXT.optional(),
        /// Layout of the file, where its keys do not tell it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub layout: Option<String> => TEXT.optional(),
        /// Which of the file's networks, e.g. `teacher`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub network: Option<String> => TEXT.optional(),
        /// Attention heads, where the file does not tell them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub heads: Option<usize> => count(1, 1024).optional(),
        /// Licence of the weights, where it is known; every file made from them says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub licence: Option<String> => TEXT.optional(),
    }
}

settings! {
    /// Where the images are and what is done to them.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct DataConfig {
        /// Folder or `.tar` of images.
        pub path: PathBuf => TEXT,
        /// One augmentation line per view, as text (see `moco_data::View`).
        pub views: Vec<String> => TEXTS,
        /// What is done to an image for evaluation, as text.
        pub eval_view: String => TEXT,
        /// Share of unreadable images, in 0..=1, above which the run stops. Unless it is 0, up to 3 are
        /// let pass in any case, but of fewer than 30 images no more than a tenth.
        pub max_bad_share: f64 => SHARE,
    }
}

settings! {
    /// Length of the run, batch size, seed, checkpoints.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct TrainConfig {
        /// Passes over the data; schedules are stretched over this many.
        pub epochs: usize => count(1, 1 << 24),
        /// Images per optimiser step, over all devices.
        pub batch_size: usize => count(1, 1 << 24),
        /// Stop after this many steps even if epochs are left. Does not change the schedule.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max_steps: Option<usize> => count(1, MANY).optional(),
        /// What large products are computed in; left out is f32.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub precision: Option<Precision> => one_of(&["auto", "f32", "tf32", "bf16", "f16"]).optional(),
        /// Seed of everything random.
        pub seed: u64 => count(0, i64::MAX),
        /// Write a checkpoint every so many steps besides the one at each epoch's end; 0 for none.
        pub checkpoint_steps: usize => count(0, MANY),
        /// Checkpoints kept; older ones are deleted.
        pub keep_checkpoints: usize => count(1, MANY),
        /// Steps between two lines of `metrics.jsonl`.
        pub log_steps: usize => count(1, MANY),
    }
}

settings! {
    /// What is watched while training.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct MonitorConfig {
        /// Epochs between two kNN evaluations (needs class folders); 0 for none.
        pub knn_epochs: usize => count(0, MANY),
        /// Neighbours.
        pub knn_k: usize => count(1, MANY),
        /// Temperature of the neighbours' weights.
        pub knn_temperature: f64 => POSITIVE,
        /// Feature that is compared.
        pub knn_feature: FeatureKind => one_of(&["backbone", "head", "last-blocks", "class-and-patches"]),
        /// Labelled images to classify; without it every tenth training image is classified by the rest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub knn_test: Option<PathBuf> => TEXT.optional(),
        /// Whether a linear probe is fitted wherever kNN is measured, on the same features.
        #[serde(default)]
        pub probe: bool => FLAG.optional(),
        /// Epochs between two measurements of quality without labels; 0 for none, as in runs of early
        /// versions.
        #[serde(default)]
        pub quality_epochs: usize => count(0, MANY).optional(),
        /// Images that quality without labels is measured on, spread over the data set.
        #[serde(default = "quality_images")]
        pub quality_images: usize => count(2, 1 << 20).optional(),
        /// Neighbours are the rows of the memory bank, as InstDisc's code has it while it trains, instead
        /// of features of the training images. Of methods with such a bank alone; left out is `false`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub knn_bank: Option<bool> => FLAG.optional(),
    }
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
