//! What SwAV says of itself.

use super::SwAv;
use crate::config::field::{MANY, POSITIVE, WIDE, count};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, RunConfig, Scale,
    power_of_two_up_to,
};
use crate::methods::usual::{blur, eval_view, fill_hidden, is_small, local, multi_crop, normalize};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Rows, Settled, Site, Spec, Weights, Width,
};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of SwAV.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct SwAvConfig {
        /// Width of the vectors that meet the prototypes.
        pub dim: usize => WIDE,
        /// Width of the projector's hidden layer.
        pub hidden: usize => WIDE,
        /// Prototypes, K.
        pub prototypes: usize => WIDE,
        /// Softmax temperature, above 0.
        pub temperature: f64 => POSITIVE,
        /// Entropy weight of the Sinkhorn iterations, above 0.
        pub epsilon: f64 => POSITIVE,
        /// Sinkhorn iterations.
        pub sinkhorn_iterations: usize => count(1, 100),
        /// Vectors kept from past batches for the assignment, per assigned view: at least a batch, or 0
        /// for none. The reference code rounds down to whole batches.
        pub queue: usize => count(0, MANY),
        /// Epoch from which the queue is filled, from 0.
        pub queue_from_epoch: usize => count(0, MANY),
        /// Steps for which the prototypes stay as they were drawn.
        pub freeze_prototypes_steps: usize => count(0, MANY),
    }
}

/// SwAV.
pub struct SwAvSpec;

impl Spec for SwAvSpec {
    fn card(&self) -> Card {
        Card {
            name: "swav",
            paper: "Caron et al. 2020, arXiv 2006.09882",
            idea: "predict a view's cluster from another view, with all clusters kept equally large",
            state: "prototypes, and a queue for small batches",
            batch: "256 with a queue; 4096 without",
        }
    }

    fn profile(&self) -> Profile {
        Profile { ranks: true, ..Profile::MULTI_CROP }
    }

    fn fields(&self) -> &'static [Field] {
        SwAvConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        let (images, batch) = (scale.facts.images, scale.batch);
        draft.fill("method.dim", 128, None);
        fill_hidden(draft, 2048, scale);
        let prototypes = power_of_two_up_to(images / 64).clamp(8, 3000);
        let why = format!("about 64 of the {images} images each; 3000 for ImageNet");
        draft.fill("method.prototypes", prototypes as i64, Some(why));
        draft.fill("method.temperature", 0.1, None);
        draft.fill("method.epsilon", 0.05, None);
        draft.fill("method.sinkhorn_iterations", 3, None);
        // As many vectors are assigned at a time as there are prototypes, in whole batches.
        let wanted = draft.count("method.prototypes");
        let queue = if batch >= wanted { 0 } else { wanted.div_ceil(batch) * batch };
        let why = format!("fills a batch of {batch} up to the number of prototypes");
        draft.fill("method.queue", queue as i64, (queue > 0).then_some(why));
        draft.fill("method.queue_from_epoch", (scale.epochs / 13) as i64, None);
        let one_epoch = scale.steps_per_epoch() as i64;
        draft.fill("method.freeze_prototypes_steps", one_epoch, Some("one epoch".to_owned()));
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<SwAvConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults::PLAIN
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        let (flavor, schedule_end) = ("larc", 6e-4);
        match scale.vit {
            true => OptimDefaults { flavor, schedule_end, ..OptimDefaults::ADAMW },
            false => OptimDefaults {
                lr: 0.6,
                decay: "all",
                warmup: (0.0, 0.0),
                flavor,
                schedule_end,
                ..OptimDefaults::LARS
            },
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        let (strengths, large, little) = match is_small(size) {
            true => ("0.4,0.4,0.4,0.1", "0.3..1", "0.1..0.3"),
            false => ("0.8,0.8,0.8,0.2", "0.14..1", "0.05..0.14"),
        };
        let (blur, end) = (blur(size, "0.5"), normalize(size));
        let crop = |size: usize, area: &str| {
            format!("crop({size}, {area}) flip jitter({strengths}; p=0.8) gray(p=0.2) {blur}{end}")
        };
        multi_crop([crop(size, large), crop(size, large)], crop(local(size), little), 6)
    }

    fn eval_view(&self, size: usize) -> String {
        eval_view(size)
    }

    /// github.com/facebookresearch/swav, eval_linear.py: the rate does not follow the batch.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol { lr: 0.3, lr_batch: None, weight_decay: 1e-6, ..Protocol::cosine() }
    }
}

impl MethodSettings for SwAvConfig {
    /// Sinkhorn's equal shares mean little when most prototypes cannot get a single image.
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        let batch = run.train.batch_size;
        let part = batch / run.optim.accumulate;
        let assigned = part + self.queue;
        if assigned * 8 < self.prototypes {
            return Err(ConfigError::Invalid(format!(
                "method.prototypes = {}: too many for {assigned} images that are assigned at a \
                 time ({part} of a batch and a queue of {}), so lower it to {} or raise \
                 method.queue",
                self.prototypes,
                self.queue,
                assigned * 8
            )));
        }
        if (1..batch).contains(&self.queue) {
            return Err(ConfigError::Invalid(format!(
                "method.queue = {}: holds no whole batch, so set it to train.batch_size = {batch} \
                 or more, or to 0 for none",
                self.queue
            )));
        }
        Ok(())
    }

    fn has_batch_norm(&self) -> bool {
        true
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(SwAv::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(SwAv::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        let dim = (self.dim, "method.dim");
        Holds {
            head: vec![features, (self.hidden, "method.hidden"), dim],
            trained: Weights::layers(&[dim, (self.prototypes, "method.prototypes")]).collect(),
            rows: vec![Rows::queue("method.queue", self.queue, self.dim, 2.0)],
            ..Holds::default()
        }
    }
}
