//! What CMC says of itself.

use super::Cmc;
use crate::config::field::{POSITIVE, SHARE, WIDE, one_of};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, ProbeDecay, Protocol, RunConfig,
    Scale,
};
use crate::methods::usual::{centred, fill_negatives};
use crate::methods::{
    BankLoss, Card, Holds, Method, MethodSettings, Profile, Rows, Sees, Settled, Site, Spec, Width,
};
use crate::models::{Architecture, Encode, NetworkSpec};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of contrastive multiview coding. The colour space is in the view's text.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct CmcConfig {
        /// Width of the embeddings.
        pub dim: usize => WIDE,
        /// Softmax temperature, above 0.
        pub temperature: f64 => POSITIVE,
        /// Share of the old row that a bank keeps, 0..=1.
        pub bank_momentum: f64 => SHARE,
        /// Cross-entropy over the sampled rows or noise-contrastive estimation.
        pub loss: BankLoss => one_of(BankLoss::NAMES),
        /// Rows drawn per image, K.
        pub negatives: usize => WIDE,
    }
}

/// Contrastive multiview coding.
pub struct CmcSpec;

impl Spec for CmcSpec {
    fn card(&self) -> Card {
        Card {
            name: "cmc",
            paper: "Tian et al. 2020, arXiv 1906.05849",
            idea: "lightness and colour of an image, each with an encoder of its own, find each other",
            state: "two encoders and two banks with one row per image",
            batch: "any; 128 as published",
        }
    }

    fn profile(&self) -> Profile {
        Profile { sees: Sees::Split, remembers: true, ranks: true, ..Profile::SINGLE }
    }

    fn fields(&self) -> &'static [Field] {
        CmcConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        draft.fill("method.dim", 128, None);
        draft.fill("method.temperature", 0.07, None);
        draft.fill("method.bank_momentum", 0.5, None);
        draft.fill("method.loss", "softmax", None);
        fill_negatives(draft, 16_384, scale);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<CmcConfig>(settings)
    }

    /// Two encoders of half the width each behind a stem of 64 channels, as published.
    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { width: 32, stem_width: Some(64), ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, _: &Scale<'_>) -> OptimDefaults {
        OptimDefaults {
            schedule: "step",
            lr_batch: 128,
            decay_follows_data: false,
            granularity: "epoch",
            ..OptimDefaults::SGD
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        vec![format!("crop({size}, 0.2..1) flip lab normalize(lab)")]
    }

    fn eval_view(&self, size: usize) -> String {
        centred(size, "", "lab normalize(lab)")
    }

    /// github.com/HobbitLong/CMC, LinearProbing.py, on the features of both encoders side by side; a
    /// higher rate for networks of twice the width.
    fn probe(&self, network: &NetworkSpec) -> Protocol {
        let wide = matches!(&network.architecture, Architecture::ResNet(net) if net.width > 64);
        let decay = ProbeDecay::Drops { epochs: vec![30.0, 40.0, 50.0], factor: 0.2 };
        let lr = if wide { 50.0 } else { 30.0 };
        Protocol { lr, decay, epochs: 60, ..Protocol::moco() }
    }
}

impl MethodSettings for CmcConfig {
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        if self.loss == BankLoss::SampledSoftmax {
            return Err(ConfigError::Invalid(
                "method.loss = sampled-softmax: cmc's softmax is over sampled rows in any case, so \
                 set it to softmax"
                    .to_owned(),
            ));
        }
        run.model.resnet().map(|_| ()).ok_or_else(|| run.needs_resnet())
    }

    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(Cmc::new(self, site.network, site.images, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(Cmc::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, images: usize) -> Holds {
        Holds {
            head: vec![features, (self.dim, "method.dim")],
            rows: vec![Rows::bank(images, self.dim, 2.0)],
            ..Holds::default()
        }
    }
}
