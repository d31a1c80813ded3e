//! What BatchNorm and accumulation ask of the batch.

use super::invalid;
use crate::config::{ConfigError, MethodConfig, NormKind, RunConfig};

impl RunConfig {
    /// Whether backbone or head normalise over the images of a batch.
    pub fn has_batch_norm(&self) -> bool {
        let head = match &self.method {
            MethodConfig::SimClr(_)
            | MethodConfig::SimClrV2(_)
            | MethodConfig::Byol(_)
            | MethodConfig::SimSiam(_)
            | MethodConfig::SwAv(_)
            | MethodConfig::MocoV3(_) => true,
            MethodConfig::Dino(dino) => dino.head_norm,
            _ => false,
        };
        head || self.model.resnet().is_some_and(|resnet| resnet.norm == NormKind::Batch)
    }

    /// Images that a loss compares at a time: the batch, or a part of one that is computed in parts.
    pub fn compared_images(&self) -> usize {
        match self.optim.exact_parts() {
            true => self.train.batch_size,
            false => self.train.batch_size / self.optim.accumulate,
        }
    }

    pub(super) fn check_batch(&self) -> Result<(), ConfigError> {
        let (batch, parts) = (self.train.batch_size, self.optim.accumulate);
        if !batch.is_multiple_of(parts) {
            return invalid(format!(
                "optim.accumulate = {parts}: does not divide train.batch_size = {batch}, so \
                 choose a divisor of it"
            ));
        }
        let (groups, batch) = (self.model.bn_groups(), batch / parts);
        if !batch.is_multiple_of(groups) {
            let of = if parts > 1 { "the parts of a batch, of size" } else { "train.batch_size =" };
            return invalid(format!(
                "model.bn_groups = {groups}: does not divide {of} {batch}, so choose a divisor of \
                 it"
            ));
        }
        if self.has_batch_norm() && batch / groups < 2 {
            return match groups {
                1 => self.refuse_single_images("BatchNorm needs at least 2"),
                _ => invalid(format!(
                    "model.bn_groups = {groups}: leaves {} of {batch} images in each group, and \
                     BatchNorm needs at least 2, so lower it or raise train.batch_size",
                    batch / groups
                )),
            };
        }
        Ok(())
    }

    /// The error of a batch whose parts are single images, and why they must not be.
    pub(super) fn refuse_single_images(&self, why: &str) -> Result<(), ConfigError> {
        let (batch, parts) = (self.train.batch_size, self.optim.accumulate);
        invalid(format!(
            "train.batch_size = {batch}: in {parts} parts it leaves images alone, and {why}, so \
             raise it to at least {}",
            2 * parts
        ))
    }
}
