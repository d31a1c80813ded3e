//! What SimSiam says of itself.

use super::SimSiam;
use crate::config::field::{FLAG, WIDE, count};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, ProbeOptimizer, Protocol, Scale,
};
use crate::methods::usual::{both, eval_view, strong_view, weight_decay};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Weights, Width,
};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of SimSiam.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct SimSiamConfig {
        /// Width of the compared vectors.
        pub dim: usize => WIDE,
        /// Width of the predictor's hidden layer.
        pub hidden: usize => WIDE,
        /// Width of the projector's hidden layers.
        pub projector_hidden: usize => WIDE,
        /// Layers of the projector: 3, or 2 for CIFAR-10.
        pub projector_layers: usize => count(1, 10),
        /// Keep the predictor's learning rate at its first value.
        pub fixed_predictor_lr: bool => FLAG,
        /// The stop-gradient of Eq. 3; without it the network collapses.
        pub stop_gradient: bool => FLAG,
    }
}

/// SimSiam.
pub struct SimSiamSpec;

impl Spec for SimSiamSpec {
    fn card(&self) -> Card {
        Card {
            name: "simsiam",
            paper: "Chen & He 2021, arXiv 2011.10566",
            idea: "predict one view from the other and stop the gradient on one side; nothing else",
            state: "a predictor",
            batch: "any; 256 to 512 as published",
        }
    }

    fn profile(&self) -> Profile {
        Profile { ranks: true, ..Profile::PAIR }
    }

    fn fields(&self) -> &'static [Field] {
        SimSiamConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        let small = scale.small();
        let why = "2048 as published, a quarter for small images".to_owned();
        draft.fill("method.dim", if small { 512 } else { 2048 }, small.then_some(why));
        let dim = draft.count("method.dim");
        draft.fill("method.hidden", (dim / 4).max(1) as i64, None);
        draft.fill("method.projector_hidden", dim as i64, None);
        draft.fill("method.projector_layers", if small { 2 } else { 3 }, None);
        draft.fill("method.fixed_predictor_lr", true, None);
        draft.fill("method.stop_gradient", true, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<SimSiamConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { zero_init_residual: true, ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        let granularity = "epoch";
        match scale.vit {
            true => OptimDefaults { granularity, ..OptimDefaults::ADAMW },
            false => OptimDefaults {
                lr: if scale.small() { 0.03 } else { 0.05 },
                weight_decay: weight_decay(scale),
                granularity,
                ..OptimDefaults::SGD
            },
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        both(strong_view(size))
    }

    fn eval_view(&self, size: usize) -> String {
        eval_view(size)
    }

    /// arXiv 2011.10566, App. A, and github.com/facebookresearch/simsiam, main_lincls.py.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol {
            optimizer: ProbeOptimizer::Larc,
            lr: 0.1,
            epochs: 90,
            batch_size: 4096,
            ..Protocol::cosine()
        }
    }
}

impl MethodSettings for SimSiamConfig {
    fn has_batch_norm(&self) -> bool {
        true
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(SimSiam::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(SimSiam::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        let mut head = vec![features];
        head.resize(self.projector_layers, (self.projector_hidden, "method.projector_hidden"));
        head.push((self.dim, "method.dim"));
        let trained = Weights::predictor(self.dim, self.hidden);
        Holds { head, trained, ..Holds::default() }
    }
}
