//! What BatchNorm and accumulation ask of the batch.

use super::{Candidate, invalid};
use crate::config::ConfigError;

impl Candidate<'_> {
    /// Refuses a batch that does not split into its parts and groups.
    pub(super) fn check_batch(&self, batch_norm: bool) -> Result<(), ConfigError> {
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
        if batch_norm && batch / groups < 2 {
            return match groups {
                1 => Err(self.single_images("BatchNorm needs at least 2")),
                _ => invalid(format!(
                    "model.bn_groups = {groups}: leaves {} of {batch} images in each group, and \
                     BatchNorm needs at least 2, so lower it or raise train.batch_size",
                    batch / groups
                )),
            };
        }
        Ok(())
    }
}
