//! What instance discrimination says of itself.

use super::InstDisc;
use crate::config::field::{POSITIVE, SHARE, WIDE, at_least, one_of};
use crate::config::{BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, Scale};
use crate::methods::usual::{
    eval_view, fill_negatives, instdisc_backbone, instdisc_optim, is_small, normalize, weak_view,
};
use crate::methods::{
    BankLoss, Card, Holds, Method, MethodSettings, Profile, Rows, Settled, Site, Spec, Width,
};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of instance discrimination.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct InstDiscConfig {
        /// Width of the embedding, D.
        pub dim: usize => WIDE,
        /// Softmax temperature, T, above 0.
        pub temperature: f64 => POSITIVE,
        /// Share of the old row that the bank keeps when an image is seen again, 0..=1.
        pub bank_momentum: f64 => SHARE,
        /// Softmax over all rows or over sampled ones, or noise-contrastive estimation.
        pub loss: BankLoss => one_of(BankLoss::NAMES),
        /// Rows drawn per image by `sampled-softmax` and `nce`, m.
        pub negatives: usize => WIDE,
        /// Weight of the paper's proximal term (Eq. 10), at least 0; the reference code has none.
        pub proximal: f64 => at_least(0.0),
    }
}

/// Instance discrimination.
pub struct InstDiscSpec;

/// Images from which a softmax over all rows costs more than the network.
const MANY_ROWS: usize = 200_000;

impl Spec for InstDiscSpec {
    fn card(&self) -> Card {
        Card {
            name: "instdisc",
            paper: "Wu et al. 2018, arXiv 1805.01978",
            idea: "every image is a class of its own, told from all others by a memory of their features",
            state: "a bank with one row per image",
            batch: "any; 128 or 256 as published",
        }
    }

    fn profile(&self) -> Profile {
        Profile { remembers: true, ranks: true, ..Profile::SINGLE }
    }

    fn fields(&self) -> &'static [Field] {
        InstDiscConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        let images = scale.facts.images;
        draft.fill("method.dim", 128, None);
        draft.fill("method.temperature", if scale.small() { 0.1 } else { 0.07 }, None);
        draft.fill("method.bank_momentum", 0.5, None);
        let many = images > MANY_ROWS;
        let why = match many {
            true => format!(
                "a softmax over {images} rows at every step would cost more than the network"
            ),
            false => format!("{images} rows are few enough for the full softmax"),
        };
        draft.fill("method.loss", if many { "nce" } else { "softmax" }, Some(why));
        fill_negatives(draft, 4096, scale);
        draft.fill("method.proximal", 0.0, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<InstDiscConfig>(settings)
    }

    fn backbone(&self, scale: &Scale<'_>) -> BackboneDefaults {
        instdisc_backbone(scale)
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        instdisc_optim(scale)
    }

    /// CIFAR-10 goes without the flip, in the paper's code.
    fn views(&self, size: usize) -> Vec<String> {
        let end = normalize(size);
        vec![match is_small(size) {
            true => format!("crop({size}, 0.2..1) jitter(0.4,0.4,0.4,0.4) gray(p=0.2) {end}"),
            false => weak_view(size),
        }]
    }

    fn eval_view(&self, size: usize) -> String {
        eval_view(size)
    }

    /// The paper measures by nearest neighbours; the probe is MoCo's.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol::moco()
    }
}

impl MethodSettings for InstDiscConfig {
    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(InstDisc::new(self, site.network, site.images, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(InstDisc::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, images: usize) -> Holds {
        Holds {
            head: vec![features, (self.dim, "method.dim")],
            rows: vec![Rows::bank(images, self.dim, 1.0)],
            ..Holds::default()
        }
    }
}
