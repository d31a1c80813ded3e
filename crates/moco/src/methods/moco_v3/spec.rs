//! What MoCo v3 says of itself.

use super::MocoV3;
use crate::config::field::{FLAG, POSITIVE, SHARE, WIDE};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, RunConfig, Scale,
};
use crate::methods::usual::{blur, check_others, eval_view, fill_hidden, normalize};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Weights, Width,
};
use crate::models::vit::VitInit;
use crate::models::{Encode, NetworkSpec, VitForm};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of MoCo v3.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct MocoV3Config {
        /// Width of the compared vectors.
        pub dim: usize => WIDE,
        /// Width of the hidden layers of projector and predictor.
        pub hidden: usize => WIDE,
        /// Softmax temperature, above 0.
        pub temperature: f64 => POSITIVE,
        /// Momentum of the moving average at the start, in 0..=1.
        pub momentum: f64 => SHARE,
        /// Raise the momentum to 1 along a cosine.
        pub momentum_cosine: bool => FLAG,
    }
}

/// MoCo v3.
pub struct MocoV3Spec;

impl Spec for MocoV3Spec {
    fn card(&self) -> Card {
        Card {
            name: "moco-v3",
            paper: "Chen et al. 2021, arXiv 2104.02057",
            idea: "MoCo without the queue, with a predictor, and stable for vision transformers",
            state: "a momentum encoder and a predictor",
            batch: "large: 4096 as published; its other images are the negatives",
        }
    }

    fn profile(&self) -> Profile {
        Profile { compares: true, ranks: true, ..Profile::PAIR }
    }

    fn fields(&self) -> &'static [Field] {
        MocoV3Config::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        draft.fill("method.dim", 256, None);
        fill_hidden(draft, 4096, scale);
        let low = scale.vit || scale.small();
        draft.fill("method.temperature", if low { 0.2 } else { 1.0 }, None);
        draft.fill("method.momentum", 0.99, None);
        draft.fill("method.momentum_cosine", true, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<MocoV3Config>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { zero_init_residual: true, freeze_patch: true, ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        let accumulate_exact = Some(true);
        match scale.vit {
            true => OptimDefaults {
                weight_decay: 0.1,
                decay: "all",
                accumulate_exact,
                ..OptimDefaults::ADAMW
            },
            false => OptimDefaults { lr: 0.6, accumulate_exact, ..OptimDefaults::LARS },
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        let end = normalize(size);
        let view = |blur: &str, solarize: &str| {
            format!(
                "crop({size}, 0.08..1) flip jitter(0.4,0.4,0.2,0.1; p=0.8) gray(p=0.2) \
                 {blur}{solarize}{end}"
            )
        };
        vec![view(&blur(size, "1"), ""), view(&blur(size, "0.1"), "solarize(128; p=0.2) ")]
    }

    fn eval_view(&self, size: usize) -> String {
        eval_view(size)
    }

    /// github.com/facebookresearch/moco-v3, CONFIG.md: its own rate for transformers.
    fn probe(&self, network: &NetworkSpec) -> Protocol {
        let lr = if network.vit().is_some() { 3.0 } else { 0.1 };
        Protocol { lr, epochs: 90, batch_size: 1024, ..Protocol::cosine() }
    }

    fn transformer(&self) -> VitForm {
        VitForm { init: VitInit::MocoV3, ..VitForm::PLAIN }
    }
}

impl MethodSettings for MocoV3Config {
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        check_others(run)
    }

    fn has_batch_norm(&self) -> bool {
        true
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(MocoV3::new(self, site.network, site.compared, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(MocoV3::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, network: &NetworkSpec, _: usize) -> Holds {
        let depth = if network.vit().is_some() { 2 } else { 1 };
        let mut head = vec![features];
        head.resize(1 + depth, (self.hidden, "method.hidden"));
        head.push((self.dim, "method.dim"));
        let trained = Weights::predictor(self.dim, self.hidden);
        Holds { head, teacher: true, trained, ..Holds::default() }
    }
}
