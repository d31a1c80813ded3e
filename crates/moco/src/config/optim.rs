//! The optimiser's settings.

use super::field::{
    Allowed, COUNTS, FLAG, Field, GROUP, POSITIVE, REALS, SHARE, at_least, count, one_of, real,
};
use crate::settings;
use serde::{Deserialize, Serialize};

settings! {
    /// Optimiser, learning rate, weight decay, and how they change over a run.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct OptimConfig {
        /// The update rule.
        #[serde(flatten)]
        pub rule: RuleConfig => GROUP,
        /// Learning rate for a batch of `lr_batch` images; the rate used is `lr * batch_size / lr_batch`, or as
        /// `lr_scaling` says.
        pub lr: f64 => POSITIVE,
        /// Batch size that `lr` is quoted for.
        pub lr_batch: usize => count(1, 1 << 24),
        /// How the rate follows the batch.
        #[serde(default)]
        pub lr_scaling: LrScaling => one_of(&["linear", "square-root"]).optional(),
        /// Weight decay.
        pub weight_decay: f64 => at_least(0.0),
        /// Weight decay at the end of the run, reached along a cosine; the same throughout without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub weight_decay_end: Option<f64> => at_least(0.0).optional(),
        /// What weight decay, and LARS's adaptation, apply to.
        pub decay: DecayScope => one_of(&["all", "matrices"]),
        /// Largest norm of one parameter's gradient; longer ones are scaled down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub clip: Option<f64> => POSITIVE.optional(),
        /// Shape of the learning rate over the run.
        pub schedule: ScheduleConfig => GROUP,
        /// Whether the schedule moves once per epoch or at every step.
        pub granularity: Granularity => one_of(&["epoch", "step"]),
        /// Epochs of linear warm-up.
        pub warmup_epochs: f64 => at_least(0.0),
        /// The rate at which the warm-up begins, as it is (not scaled by the batch); left out is 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub warmup_start: Option<f64> => at_least(0.0).optional(),
        /// Whether the last step of the warm-up, and not the first one behind it, is the first at the peak:
        /// numpy's `linspace`, in SwAV's and DINO's code; left out is `false`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub warmup_inclusive: Option<bool> => FLAG.optional(),
        /// Parts that a batch is computed in, one after the other, to save memory.
        pub accumulate: usize => count(1, 1 << 16),
        /// Compare all images of a batch in parts, by passing each through the network twice (gradient
        /// caching: Gao et al. 2021, arXiv 2101.06983). Without it each part is a batch of its own. Of the
        /// methods that compare the images of a batch alone; left out is `false`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub accumulate_exact: Option<bool> => FLAG.optional(),
    }
}

impl OptimConfig {
    /// Whether a batch is computed in parts and compared as a whole.
    pub fn exact_parts(&self) -> bool {
        self.accumulate > 1 && self.accumulate_exact == Some(true)
    }
}

/// How a learning rate follows the batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrScaling {
    /// In proportion to it.
    #[default]
    Linear,
    /// In proportion to its square root: Chen et al. 2020 (arXiv 2002.05709), App. B.1.
    SquareRoot,
}

/// The update rule and what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "optimizer", rename_all = "kebab-case")]
pub enum RuleConfig {
    /// Stochastic gradient descent with torch's momentum.
    Sgd {
        /// Share of the old velocity that is kept.
        momentum: f64,
    },
    /// SGD with Nesterov's momentum, torch's and TensorFlow's. For linear probes alone: no
    /// method trains with it, so it has no name in a file.
    #[serde(skip)]
    Nesterov {
        /// Share of the old velocity that is kept.
        momentum: f64,
    },
    /// Layer-wise adaptive rates (You et al. 2017, arXiv 1708.03888).
    Lars {
        /// Share of the old velocity that is kept.
        momentum: f64,
        /// Trust coefficient, eta.
        trust: f64,
        /// Which of the published variants.
        flavor: LarsFlavor,
    },
    /// Adam with weight decay in the gradient (Kingma & Ba 2015, arXiv 1412.6980).
    Adam {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101).
    #[serde(rename = "adamw")]
    AdamW {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
    },
}

/// The optimisers by name.
pub(crate) const OPTIMIZERS: [&str; 4] = ["sgd", "lars", "adam", "adamw"];

/// The settings of [`RuleConfig`], each with the optimisers that have it.
pub(crate) const RULE_FIELDS: [(&[&str], Field); 6] = [
    (&["sgd", "lars"], field("momentum", SHARE)),
    (&["lars"], field("trust", POSITIVE)),
    (&["lars"], field("flavor", one_of(&["outside", "inside", "larc", "solo-learn"]))),
    (&["adam", "adamw"], field("beta1", real(0.0, 0.999_999))),
    (&["adam", "adamw"], field("beta2", real(0.0, 0.999_999))),
    (&["adam", "adamw"], field("epsilon", POSITIVE)),
];

/// The settings of [`ScheduleConfig`], whose kind says which of them there are.
pub(crate) const SCHEDULE_FIELDS: [Field; 5] = [
    field("kind", one_of(&["constant", "cosine", "step", "factors"])),
    field("end", at_least(0.0).optional()),
    field("milestones", COUNTS.optional()),
    field("gamma", POSITIVE.optional()),
    field("factors", REALS.optional()),
];

const fn field(name: &'static str, allowed: Allowed) -> Field {
    Field { name, allowed }
}

/// Where published LARS implementations differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LarsFlavor {
    /// MoCo v3, MAE and BYOL: the learning rate is applied to the velocity.
    Outside,
    /// SimCLR: the learning rate is applied before the velocity.
    Inside,
    /// apex LARC without clipping, as in SwAV: outside, and the two lengths of gradient and decay
    /// are added. With `decay = "matrices"` this is lightly's LARS.
    Larc,
    /// solo-learn: as LARC, and `min(ratio / lr, 1)` instead of the ratio, which keeps the adapted
    /// rate at or below the global one. Its recipes have `trust = 0.02` and `decay = "matrices"`.
    SoloLearn,
}

/// Which parameters weight decay and adaptation apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayScope {
    /// All of them.
    All,
    /// Parameters of two or more dimensions: no biases, no scales of a normalisation.
    Matrices,
}

/// Shape of the learning rate over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// The base rate throughout.
    Constant,
    /// Half a cosine from the base rate to `end`.
    Cosine {
        /// The rate at the end, as it is (not scaled by the batch).
        #[serde(default)]
        end: f64,
    },
    /// Multiply by `gamma` at each of the given epochs.
    Step {
        /// Epochs at which the rate drops, ascending.
        milestones: Vec<usize>,
        /// Factor of each drop.
        gamma: f64,
    },
    /// From each of the given epochs on, a given share of the base rate.
    Factors {
        /// Epochs at which the rate changes, ascending.
        milestones: Vec<usize>,
        /// The share of the base rate from each of them on.
        factors: Vec<f64>,
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
