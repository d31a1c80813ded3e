//! What a method asks of its own settings.

use super::invalid;
use crate::config::{
    BankLoss, ConfigError, CpcConfig, MaeConfig, MethodConfig, MocoConfig, RunConfig, SwAvConfig,
    kept_patches,
};
use moco_data::View;

impl RunConfig {
    pub(super) fn check_method(&self) -> Result<(), ConfigError> {
        match &self.method {
            MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => self.check_moco(moco),
            MethodConfig::SwAv(swav) => self.check_swav(swav),
            MethodConfig::Cpc(cpc) => self.check_cpc(cpc),
            MethodConfig::InvaSpread(_)
            | MethodConfig::SimClr(_)
            | MethodConfig::SimClrV2(_)
            | MethodConfig::MocoV3(_) => self.check_others(),
            MethodConfig::Mae(mae) => self.check_mae(mae),
            MethodConfig::Cmc(cmc) if cmc.loss == BankLoss::SampledSoftmax => invalid(
                "method.loss = sampled-softmax: cmc's softmax is over sampled rows in any case, so set \
                 it to softmax"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    fn check_moco(&self, moco: &MocoConfig) -> Result<(), ConfigError> {
        let keys_per_step = self.train.batch_size * if moco.symmetric { 2 } else { 1 };
        if moco.queue < keys_per_step {
            return invalid(format!(
                "method.queue = {}: shorter than the {keys_per_step} keys of one step, so set it \
                 to at least {keys_per_step} or lower train.batch_size",
                moco.queue
            ));
        }
        Ok(())
    }

    /// There must be a row to predict.
    fn check_cpc(&self, cpc: &CpcConfig) -> Result<(), ConfigError> {
        let views = self.data.parse_views()?;
        let rows = views
            .first()
            .and_then(View::grid)
            .map_or(0, |[rows, columns]| if cpc.directions > 2 { rows.min(columns) } else { rows });
        let last = cpc.first_offset + cpc.steps - 1;
        if last >= rows {
            return invalid(format!(
                "method.steps = {}: predicts up to {last} rows ahead, and the view has {rows} rows \
                 of patches, so lower it or method.first_offset",
                cpc.steps
            ));
        }
        Ok(())
    }

    /// An image alone has no loss to learn from.
    fn check_others(&self) -> Result<(), ConfigError> {
        match self.compared_images() {
            2.. => Ok(()),
            _ => self
                .refuse_single_images(&format!("{} compares each with others", self.method.name())),
        }
    }

    /// Sinkhorn's equal shares mean little when most prototypes cannot get a single image.
    fn check_swav(&self, swav: &SwAvConfig) -> Result<(), ConfigError> {
        let batch = self.train.batch_size;
        let part = batch / self.optim.accumulate;
        let assigned = part + swav.queue;
        if assigned * 8 < swav.prototypes {
            return invalid(format!(
                "method.prototypes = {}: too many for {assigned} images that are assigned at a \
                 time ({part} of a batch and a queue of {}), so lower it to {} or raise \
                 method.queue",
                swav.prototypes,
                swav.queue,
                assigned * 8
            ));
        }
        if (1..batch).contains(&swav.queue) {
            return invalid(format!(
                "method.queue = {}: holds no whole batch, so set it to train.batch_size = {batch} \
                 or more, or to 0 for none",
                swav.queue
            ));
        }
        Ok(())
    }

    /// There must be patches to see and patches to guess.
    fn check_mae(&self, mae: &MaeConfig) -> Result<(), ConfigError> {
        if !mae.decoder_width.is_multiple_of(4 * mae.decoder_heads) {
            return invalid(format!(
                "method.decoder_width = {}: must be a multiple of 4 times the {} heads, for the \
                 position embedding",
                mae.decoder_width, mae.decoder_heads
            ));
        }
        let views = self.data.parse_views()?;
        let (Some(vit), Some(view)) = (self.model.vit(), views.first()) else { return Ok(()) };
        let patches = view.size().iter().map(|side| side / vit.patch).product();
        let kept = kept_patches(patches, mae.mask_ratio);
        if !(1..patches).contains(&kept) {
            return invalid(format!(
                "method.mask_ratio = {}: leaves {kept} of the {patches} patches of a view visible, \
                 and mae needs some to see and some to guess, so change it or model.patch",
                mae.mask_ratio
            ));
        }
        Ok(())
    }
}
