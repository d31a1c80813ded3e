//! What MAE says of itself.

use super::Mae;
use crate::config::field::{FLAG, WIDE, count, real};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, Granularity, OptimDefaults, ProbeOptimizer,
    Protocol, Readout, Refit, RunConfig, Scale, VitModelConfig,
};
use crate::layout::Layout;
use crate::methods::usual::{bicubic_eval_view, normalize};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Weights, Width,
};
use crate::models::mae::kept_patches;
use crate::models::vit::{VitError, VitInit};
use crate::models::{Encode, NetworkSpec, VitForm, blocks_weights};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of the masked autoencoder.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct MaeConfig {
        /// Share of the patches that are hidden, 0..1.
        pub mask_ratio: f64 => real(0.0, 0.99),
        /// Reconstruct each patch with its own mean and variance taken out.
        pub norm_pixels: bool => FLAG,
        /// Width of the decoder.
        pub decoder_width: usize => WIDE,
        /// Blocks of the decoder.
        pub decoder_depth: usize => count(1, 100),
        /// Attention heads of the decoder.
        pub decoder_heads: usize => count(1, 1024),
    }
}

/// Masked autoencoder.
pub struct MaeSpec;

impl Spec for MaeSpec {
    fn card(&self) -> Card {
        Card {
            name: "mae",
            paper: "He et al. 2022, arXiv 2111.06377",
            idea: "hide three patches of four and paint them from the rest",
            state: "a decoder",
            batch: "any; 4096 as published",
        }
    }

    fn profile(&self) -> Profile {
        Profile { head: false, ranks: true, ..Profile::SINGLE }
    }

    fn fields(&self) -> &'static [Field] {
        MaeConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        draft.fill("method.mask_ratio", 0.75, None);
        draft.fill("method.norm_pixels", true, None);
        let (width, depth, heads) = if scale.small() { (128, 2, 4) } else { (512, 8, 16) };
        draft.fill("method.decoder_width", width, None);
        draft.fill("method.decoder_depth", depth, None);
        draft.fill("method.decoder_heads", heads, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<MaeConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { transformer: true, ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, _: &Scale<'_>) -> OptimDefaults {
        OptimDefaults { betas: (0.9, 0.95), ..OptimDefaults::ADAMW }
    }

    fn views(&self, size: usize) -> Vec<String> {
        vec![format!("crop({size}, 0.2..1, bicubic) flip {}", normalize(size))]
    }

    fn eval_view(&self, size: usize) -> String {
        bicubic_eval_view(size)
    }

    /// arXiv 2111.06377, App. A.1, Table 10.
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol {
            optimizer: ProbeOptimizer::Lars,
            lr: 0.1,
            granularity: Granularity::Step,
            warmup_epochs: 10.0,
            epochs: 90,
            batch_size: 16_384,
            normalize: true,
            ..Protocol::cosine()
        }
    }

    /// arXiv 2111.06377, App. A.1, Table 9, ViT-B.
    fn refit(&self) -> Refit {
        Refit { readout: Readout::PatchMean, drop_path: 0.1 }
    }

    fn transformer(&self) -> VitForm {
        VitForm { init: VitInit::Mae, column_first: true, ..VitForm::PLAIN }
    }
}

impl MethodSettings for MaeConfig {
    /// There must be patches to see and patches to guess.
    fn check(&self, run: &RunConfig, views: &[View]) -> Result<(), ConfigError> {
        if !self.decoder_width.is_multiple_of(4 * self.decoder_heads) {
            return Err(ConfigError::Invalid(format!(
                "method.decoder_width = {}: must be a multiple of 4 times the {} heads, for the \
                 position embedding",
                self.decoder_width, self.decoder_heads
            )));
        }
        let Some(vit) = run.model.vit() else {
            return Err(ConfigError::Invalid(format!(
                "model.backbone = {}: mae hides patches of a vision transformer, so choose a vit",
                run.model.backbone
            )));
        };
        let unfit = match vit {
            VitModelConfig { class_token: Some(false), .. } => {
                Some(VitError::NoClassToken { who: "a masked autoencoder" })
            }
            VitModelConfig { registers: Some(1..), .. } => Some(VitError::Registers),
            _ => None,
        };
        if let Some(error) = unfit {
            return Err(ConfigError::Invalid(format!("[model]: {error}")));
        }
        let size = views.first().map_or([0, 0], View::size);
        let patches = size.iter().map(|side| side / vit.patch).product();
        let kept = kept_patches(patches, self.mask_ratio);
        if !(1..patches).contains(&kept) {
            return Err(ConfigError::Invalid(format!(
                "method.mask_ratio = {}: leaves {kept} of the {patches} patches of a view visible, \
                 and mae needs some to see and some to guess, so change it or model.patch",
                self.mask_ratio
            )));
        }
        Ok(())
    }

    fn has_batch_norm(&self) -> bool {
        false
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(Mae::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(Mae::new_encoder(site.network, site.device))
    }

    fn holds(&self, _: Width, _: &NetworkSpec, _: usize) -> Holds {
        let (width, key) = (self.decoder_width, "method.decoder_width");
        let count = blocks_weights(width, self.decoder_depth, 8 * width);
        Holds { trained: vec![Weights { key, value: width, count }], ..Holds::default() }
    }

    fn layout(&self) -> Option<Layout> {
        Some(Layout::Mae)
    }
}
