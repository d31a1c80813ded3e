//! What BYOL says of itself.

use super::Byol;
use crate::config::field::{FLAG, SHARE, WIDE};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, Granularity, HeadStart, OptimDefaults,
    ProbeOptimizer, Protocol, Scale,
};
use crate::methods::usual::{bicubic_eval_view, blur, fill_hidden, normalize};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Weights, Width,
};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of BYOL.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ByolConfig {
        /// Width of the compared vectors.
        pub dim: usize => WIDE,
        /// Width of the hidden layer of projector and predictor.
        pub hidden: usize => WIDE,
        /// Momentum of the target's moving average at the start, in 0..=1.
        pub momentum: f64 => SHARE,
        /// Raise the momentum to 1 along a cosine, as published; off, it is the same throughout.
        #[serde(default = "as_published")]
        pub momentum_cosine: bool => FLAG.optional(),
    }
}

/// What a configuration that was written before the setting existed meant.
fn as_published() -> bool {
    true
}

/// Bootstrap your own latent.
pub struct ByolSpec;

impl Spec for ByolSpec {
    fn card(&self) -> Card {
        Card {
            name: "byol",
            paper: "Grill et al. 2020, arXiv 2006.07733",
            idea: "predict what a moving average of yourself says of the other view; no negatives",
            state: "a target network and a predictor",
            batch: "256 or more; 4096 as published",
        }
    }

    fn profile(&self) -> Profile {
        Profile { compares: true, ranks: true, ..Profile::PAIR }
    }

    fn fields(&self) -> &'static [Field] {
        ByolConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        draft.fill("method.dim", 256, None);
        fill_hidden(draft, 4096, scale);
        draft.fill("method.momentum", 0.99, None);
        draft.fill("method.momentum_cosine", true, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<ByolConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults::PLAIN
    }

    /// The loss is a mean over images, so that parts of a batch differ in BatchNorm alone.
    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        match scale.vit {
            true => OptimDefaults::ADAMW,
            false => OptimDefaults { lr: 0.45, ..OptimDefaults::LARS },
        }
    }

    /// BYOL's own operations: bicubic crops, brightness that is added, TensorFlow's colours.
    fn views(&self, size: usize) -> Vec<String> {
        let end = normalize(size);
        let view = |blur: &str, solarize: &str| {
            format!(
                "crop({size}, 0.08..1, bicubic) flip jitter(0.4,0.4,0.2,0.1; brightness=add; \
                 colors=tensorflow; p=0.8) gray(p=0.2) {blur}{solarize}{end}"
            )
        };
        vec![view(&blur(size, "1"), ""), view(&blur(size, "0.1"), "solarize(128; p=0.2) ")]
    }

    fn eval_view(&self, size: usize) -> String {
        bicubic_eval_view(size)
    }

    /// github.com/google-deepmind/deepmind-research, byol/configs/eval.py; arXiv 2006.07733, App. C.1,
    /// which picks the rate among 0.4, 0.3, 0.2, 0.1 and 0.05.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol {
            optimizer: ProbeOptimizer::Nesterov,
            lr: 0.2,
            granularity: Granularity::Step,
            epochs: 80,
            batch_size: 1024,
            head: HeadStart::FanIn,
            ..Protocol::cosine()
        }
    }
}

impl MethodSettings for ByolConfig {
    fn has_batch_norm(&self) -> bool {
        true
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(Byol::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(Byol::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        Holds {
            head: vec![features, (self.hidden, "method.hidden"), (self.dim, "method.dim")],
            teacher: true,
            trained: Weights::predictor(self.dim, self.hidden),
            ..Holds::default()
        }
    }
}
