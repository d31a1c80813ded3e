//! What MoCo v1 and v2 say of themselves.

use super::Moco;
use crate::config::field::{FLAG, MANY, POSITIVE, SHARE, WIDE, count, one_of};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, RunConfig, Scale,
    power_of_two_up_to,
};
use crate::methods::usual::{both, eval_view, is_small, strong_view, weak_view, weight_decay};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Rows, Settled, Site, Spec, Width,
};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

/// The projection head between backbone and loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// `Linear(features -> dim)` with bias.
    Linear,
    /// `Linear(features -> features)`, ReLU, `Linear(features -> dim)`, with biases.
    Mlp,
}

settings! {
    /// Settings of MoCo v1 and v2; the two differ in their defaults only.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct MocoConfig {
        /// Keys in the queue, K. Any positive number at least as large as the batch.
        pub queue: usize => count(0, MANY),
        /// Momentum of the key encoder's moving average, m, in 0..=1.
        pub momentum: f64 => SHARE,
        /// Softmax temperature of the loss, T, above 0.
        pub temperature: f64 => POSITIVE,
        /// Width of the query and key vectors, D.
        pub dim: usize => WIDE,
        /// Projection head: one linear layer (v1) or a two-layer MLP (v2).
        pub head: HeadKind => one_of(&["linear", "mlp"]),
        /// Also use each second view as query against the first as key, and add both losses.
        pub symmetric: bool => FLAG,
        /// Permute the key batch before the key encoder, so that split BatchNorm groups of query and
        /// key hold different images (v1 Sec. 3.3, "Shuffling BN").
        pub shuffle_keys: bool => FLAG,
        /// Leave keys of the query's own image out of the negatives.
        pub mask_own_keys: bool => FLAG,
    }
}

/// Momentum Contrast, v1 or v2; the two differ in their defaults only.
pub struct MocoSpec {
    v2: bool,
}

impl MocoSpec {
    /// The first version.
    pub const V1: MocoSpec = MocoSpec { v2: false };
    /// The second, with SimCLR's head and augmentation.
    pub const V2: MocoSpec = MocoSpec { v2: true };
}

/// Steps from which the momentum of the published ImageNet runs has time to pay off.
const LONG_RUN: usize = 100_000;
/// The published queue.
const LONGEST_QUEUE: usize = 65_536;

impl Spec for MocoSpec {
    fn card(&self) -> Card {
        if self.v2 { V2 } else { V1 }
    }

    fn profile(&self) -> Profile {
        let views_are = "2, one of the query and one of the key";
        Profile { views_are, ranks: true, ..Profile::PAIR }
    }

    fn fields(&self) -> &'static [Field] {
        MocoConfig::FIELDS
    }

    /// Queue length, momentum and temperature follow the sizes at which they were published.
    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        fill_queue(draft, scale);
        let steps = scale.epochs * scale.steps_per_epoch();
        let (momentum, why) = match steps >= LONG_RUN {
            true => (0.999, format!("as published for ImageNet, the run has {steps} steps")),
            false => (0.99, format!("as published for CIFAR-10, the run has only {steps} steps")),
        };
        draft.fill("method.momentum", momentum, Some(why));
        let temperature = match (self.v2, scale.small()) {
            (true, _) => 0.2,
            (false, false) => 0.07,
            (false, true) => 0.1,
        };
        draft.fill("method.temperature", temperature, None);
        draft.fill("method.dim", 128, None);
        draft.fill("method.head", if self.v2 { "mlp" } else { "linear" }, None);
        draft.fill("method.shuffle_keys", true, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<MocoConfig>(settings)
    }

    /// One BatchNorm statistic for each of the 8 GPUs of the published runs.
    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { split_norm: true, ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        if scale.vit {
            return OptimDefaults { granularity: "epoch", ..OptimDefaults::ADAMW };
        }
        OptimDefaults {
            schedule: if self.v2 { "cosine" } else { "step" },
            weight_decay: weight_decay(scale),
            granularity: "epoch",
            ..OptimDefaults::SGD
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        both(if self.v2 || is_small(size) { strong_view(size) } else { weak_view(size) })
    }

    fn eval_view(&self, size: usize) -> String {
        eval_view(size)
    }

    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol::moco()
    }
}

/// Fills what belongs to the queue, whose length follows the images and a step's keys.
fn fill_queue(draft: &mut Draft, scale: &Scale<'_>) {
    let images = scale.facts.images;
    let symmetric = draft.fill_flag("method.symmetric", false);
    let at_least = if symmetric { 2 * scale.batch } else { scale.batch };
    let quarter = images / 4;
    let queue = power_of_two_up_to(quarter).min(LONGEST_QUEUE).max(at_least);
    let why = format!("a quarter of the {images} images at most, but no less than a step's keys");
    draft.fill("method.queue", queue as i64, Some(why));
    draft.fill("method.mask_own_keys", false, None);
    let chosen = draft.count("method.queue");
    if chosen > quarter.max(at_least) {
        draft.note(format!(
            "method.queue = {chosen} is more than a quarter of the {images} images, so that a query \
             often meets a key of its own image among the negatives: --set method.queue=auto takes \
             {queue}, --set method.mask_own_keys=true leaves such keys out"
        ));
    }
}

impl MethodSettings for MocoConfig {
    /// The queue must hold the keys of a step.
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        let keys_per_step = run.train.batch_size * if self.symmetric { 2 } else { 1 };
        if self.queue < keys_per_step {
            return Err(ConfigError::Invalid(format!(
                "method.queue = {}: shorter than the {keys_per_step} keys of one step, so set it \
                 to at least {keys_per_step} or lower train.batch_size",
                self.queue
            )));
        }
        Ok(())
    }

    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(Moco::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(Moco::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        let dim = (self.dim, "method.dim");
        let head = match self.head {
            HeadKind::Linear => vec![features, dim],
            HeadKind::Mlp => vec![features, features, dim],
        };
        let rows = vec![Rows::queue("method.queue", self.queue, self.dim, 1.0)];
        Holds { head, teacher: true, rows, ..Holds::default() }
    }
}

const V1: Card = Card {
    name: "moco-v1",
    paper: "He et al. 2020, arXiv 1911.05722",
    idea: "look a view up in a large queue of keys, made by a slowly moving average of the encoder",
    state: "a key encoder and a queue of keys",
    batch: "any; 256 as published, the queue makes up for it",
};

const V2: Card = Card {
    name: "moco-v2",
    paper: "Chen et al. 2020, arXiv 2003.04297",
    idea: "MoCo with SimCLR's projection head and stronger augmentation",
    state: "a key encoder and a queue of keys",
    batch: "any; 256 as published",
};
