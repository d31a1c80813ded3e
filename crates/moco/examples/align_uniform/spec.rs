//! What the method says of itself: settings, defaults, views, optimiser.

use super::AlignUniform;
use moco::config::field::{POSITIVE, WIDE};
use moco::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, RunConfig, Scale,
};
use moco::methods::{Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Width};
use moco::models::{Encode, NetworkSpec};
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

moco::settings! {
    /// Settings of alignment and uniformity.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct AlignUniformConfig {
        /// Width of the embeddings.
        pub dim: usize => WIDE,
        /// How steeply two embeddings repel each other; t in the paper.
        pub steepness: f64 => POSITIVE,
        /// Weight of uniformity beside alignment.
        pub uniformity: f64 => POSITIVE,
    }
}

/// Alignment and uniformity.
pub struct AlignUniformSpec;

impl Spec for AlignUniformSpec {
    fn card(&self) -> Card {
        Card {
            name: "align-uniform",
            paper: "Wang & Isola 2020, arXiv 2005.10242",
            idea: "two views of an image lie close, and all images spread over the sphere",
            state: "nothing",
            batch: "256 or more; its other images are what an image spreads from",
        }
    }

    fn profile(&self) -> Profile {
        Profile::PAIR
    }

    fn fields(&self) -> &'static [Field] {
        AlignUniformConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        draft.fill("method.dim", if scale.small() { 64 } else { 128 }, None);
        draft.fill("method.steepness", 2.0, None);
        draft.fill("method.uniformity", 1.0, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<AlignUniformConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults::PLAIN
    }

    fn optim(&self, _: &Scale<'_>) -> OptimDefaults {
        OptimDefaults { lr: 0.12, ..OptimDefaults::SGD }
    }

    fn views(&self, size: usize) -> Vec<String> {
        let view = format!("crop({size}, 0.08..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2)");
        vec![view.clone(), view]
    }

    fn eval_view(&self, size: usize) -> String {
        format!("resize({size}) center({size})")
    }

    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol::moco()
    }
}

impl MethodSettings for AlignUniformConfig {
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        match run.compared_images() {
            2.. => Ok(()),
            _ => Err(ConfigError::Invalid(
                "train.batch_size: align-uniform spreads images, so give it two at least"
                    .to_owned(),
            )),
        }
    }

    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(AlignUniform::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(AlignUniform::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        Holds { head: vec![features, features, (self.dim, "method.dim")], ..Holds::default() }
    }
}
