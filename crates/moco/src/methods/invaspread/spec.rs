//! What InvaSpread says of itself.

use super::InvaSpread;
use crate::config::field::{POSITIVE, WIDE, one_of};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, RunConfig, Scale,
};
use crate::methods::usual::{
    both, check_others, eval_view, instdisc_backbone, instdisc_optim, normalize,
};
use crate::methods::{Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Width};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

/// How the gradient of InvaSpread flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvaSpreadGradient {
    /// Into both vectors of every product, as in the paper.
    Both,
    /// Into the first only, as in the reference code.
    Row,
}

settings! {
    /// Settings of InvaSpread.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct InvaSpreadConfig {
        /// Width of the embedding.
        pub dim: usize => WIDE,
        /// Softmax temperature, above 0.
        pub temperature: f64 => POSITIVE,
        /// Which vectors of a product learn from it.
        pub gradient: InvaSpreadGradient => one_of(&["both", "row"]),
        /// Weight of the negatives, `negM` in the reference code; 1 is the paper.
        pub negative_weight: f64 => POSITIVE,
    }
}

/// InvaSpread.
pub struct InvaSpreadSpec;

impl Spec for InvaSpreadSpec {
    fn card(&self) -> Card {
        Card {
            name: "invaspread",
            paper: "Ye et al. 2019, arXiv 1904.03436",
            idea: "two views of an image attract, all other images of the batch spread out",
            state: "nothing",
            batch: "128; its other images are the negatives",
        }
    }

    fn profile(&self) -> Profile {
        Profile { compares: true, ranks: true, ..Profile::PAIR }
    }

    fn fields(&self) -> &'static [Field] {
        InvaSpreadConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, _: &Scale<'_>) {
        draft.fill("method.dim", 128, None);
        draft.fill("method.temperature", 0.1, None);
        draft.fill("method.gradient", "row", None);
        draft.fill("method.negative_weight", 1.0, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<InvaSpreadConfig>(settings)
    }

    fn backbone(&self, scale: &Scale<'_>) -> BackboneDefaults {
        instdisc_backbone(scale)
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        OptimDefaults { accumulate_exact: Some(true), ..instdisc_optim(scale) }
    }

    fn views(&self, size: usize) -> Vec<String> {
        let end = normalize(size);
        both(format!("crop({size}, 0.2..1) jitter(0.4,0.4,0.4,0.4) gray(p=0.2) flip {end}"))
    }

    fn eval_view(&self, size: usize) -> String {
        eval_view(size)
    }

    /// The paper measures by nearest neighbours; the probe is MoCo's.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol::moco()
    }
}

impl MethodSettings for InvaSpreadConfig {
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        check_others(run)
    }

    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(InvaSpread::new(self, site.network, site.compared, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(InvaSpread::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        Holds { head: vec![features, (self.dim, "method.dim")], ..Holds::default() }
    }
}
