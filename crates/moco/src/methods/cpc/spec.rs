//! What CPC says of itself.

use super::{Cpc, PatchEncoder};
use crate::config::field::{POSITIVE, WIDE, count, one_of};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, NormKind, OptimDefaults, ProbeDecay, Protocol,
    RunConfig, Scale,
};
use crate::methods::usual::{centred, normalize};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Sees, Settled, Site, Spec, Weights, Width,
};
use crate::models::{ContextPadding, Encode, NetworkSpec};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of contrastive predictive coding. The grid of patches is in the view's text.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct CpcConfig {
        /// Width of the predicted vectors.
        pub dim: usize => WIDE,
        /// Hidden width of the context network's residual blocks.
        pub context_width: usize => WIDE,
        /// Residual blocks of the context network.
        pub context_blocks: usize => count(1, 100),
        /// What the context network sees beyond the grid.
        #[serde(default)]
        pub context_padding: ContextPadding => one_of(&["zeros", "bolts"]).optional(),
        /// Rows that are predicted ahead, at most.
        pub steps: usize => count(1, 100),
        /// The first row predicted: 1 is the next, 2 the first that shares no pixel at 50 % overlap.
        pub first_offset: usize => count(1, 100),
        /// Directions of prediction: 1 (down, v1) or 4 (v2).
        pub directions: usize => count(1, 4),
        /// Factor on the predictions; 0.1 keeps early logits small.
        pub prediction_scale: f64 => POSITIVE,
    }
}

/// Contrastive predictive coding.
pub struct CpcSpec;

/// Side and stride of patches, which overlap by half: a quarter of the image and half of it, for a
/// grid of 7x7.
fn patches(size: usize) -> String {
    format!("patches({}; stride={})", size / 4, size / 8)
}

impl Spec for CpcSpec {
    fn card(&self) -> Card {
        Card {
            name: "cpc",
            paper: "van den Oord et al. 2018, arXiv 1807.03748",
            idea: "from the patches above, tell the patches below from those of other places and images",
            state: "a context network and predictors",
            batch: "16 images or more, whose patches are the negatives",
        }
    }

    fn profile(&self) -> Profile {
        Profile {
            views_are: "1, a grid of patches",
            sees: Sees::Patches,
            head: false,
            ranks: true,
            ..Profile::SINGLE
        }
    }

    fn fields(&self) -> &'static [Field] {
        CpcConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, _: &Scale<'_>) {
        draft.fill("method.dim", 64, None);
        draft.fill("method.context_width", 256, None);
        draft.fill("method.context_blocks", 5, None);
        draft.fill("method.context_padding", "zeros", None);
        draft.fill("method.steps", 3, None);
        draft.fill("method.first_offset", 2, None);
        draft.fill("method.directions", 1, None);
        draft.fill("method.prediction_scale", 0.1, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<CpcConfig>(settings)
    }

    /// Patches are too small for a fourth stage (v1, Sec. 3.2), and must not see one another.
    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { stages: 3, norm: "layer", ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, _: &Scale<'_>) -> OptimDefaults {
        OptimDefaults {
            optimizer: "adam",
            lr: 2e-4,
            lr_batch: 64,
            weight_decay: 1e-5,
            decay_follows_data: false,
            decay: "all",
            schedule: "constant",
            warmup: (0.0, 0.0),
            betas: (0.8, 0.999),
            ..OptimDefaults::SGD
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        let (patches, end) = (patches(size), normalize(size));
        vec![format!(
            "crop({size}, 0.3..1) flip jitter(0.4,0.4,0.4,0.2; p=0.8) gray(p=0.25) {patches} {end}"
        )]
    }

    fn eval_view(&self, size: usize) -> String {
        centred(size, "", &format!("{} {}", patches(size), normalize(size)))
    }

    /// Sec. 3.2: 50, 25 and 10 thousand steps of 2048 images, 136 epochs of ImageNet.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        let decay = ProbeDecay::tenfold(&[80.0, 120.0]);
        Protocol { lr: 0.1, decay, epochs: 136, batch_size: 2048, ..Protocol::moco() }
    }
}

impl MethodSettings for CpcConfig {
    /// There must be a row to predict, and a network that sees each patch alone.
    fn check(&self, run: &RunConfig, views: &[View]) -> Result<(), ConfigError> {
        let rows = views.first().and_then(View::grid).map_or(0, |[rows, columns]| {
            if self.directions > 2 { rows.min(columns) } else { rows }
        });
        let last = self.first_offset + self.steps - 1;
        if last >= rows {
            return Err(ConfigError::Invalid(format!(
                "method.steps = {}: predicts up to {last} rows ahead, and the view has {rows} rows \
                 of patches, so lower it or method.first_offset",
                self.steps
            )));
        }
        match run.model.resnet() {
            None => Err(run.needs_resnet()),
            Some(resnet) if resnet.norm == NormKind::Batch => Err(ConfigError::Invalid(
                "model.norm = batch: cpc's patches would see one another through the statistics \
                 of the batch, so set it to layer"
                    .to_owned(),
            )),
            Some(_) => Ok(()),
        }
    }

    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(Cpc::new(self, site.network, site.grid, site.compared, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(PatchEncoder::new(site.network, site.grid, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        let head = match self.dim == features.0 {
            true => Vec::new(),
            false => vec![features, (self.dim, "method.dim")],
        };
        let (dim, context) = (self.dim as f64, self.context_width as f64);
        let block = 2.0 * dim * context + 5.0 * context * context;
        let directions = self.directions as f64;
        let trained = vec![
            Weights {
                key: "method.context_width",
                value: self.context_width,
                count: directions * self.context_blocks as f64 * block,
            },
            Weights {
                key: "method.dim",
                value: self.dim,
                count: directions * self.steps as f64 * dim * dim,
            },
        ];
        Holds { head, trained, ..Holds::default() }
    }
}
