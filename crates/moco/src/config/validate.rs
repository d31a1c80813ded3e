//! What must hold between settings, beyond the range of each.

use super::{ConfigError, DataConfig, MethodConfig, MocoConfig, RunConfig, ScheduleConfig, keys};
use moco_data::View;

impl RunConfig {
    /// Checks every value and every relation between values.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let tree =
            toml::Table::try_from(self).map_err(|error| ConfigError::Invalid(error.to_string()))?;
        keys::check_complete(&tree)?;
        match &self.method {
            MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => self.check_moco(moco)?,
        }
        self.check_batch_norm()?;
        self.check_schedule()?;
        self.data.parse_eval_view()?;
        Ok(())
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
        let views = self.data.parse_views()?;
        let [query, key] = views.as_slice() else {
            return invalid(format!(
                "data.views has {} entries: {} needs exactly 2, one of the query and one of the \
                 key",
                views.len(),
                self.method.name()
            ));
        };
        if query.size() != key.size() {
            let [[h0, w0], [h1, w1]] = [query.size(), key.size()];
            return invalid(format!(
                "data.views are {w0}x{h0} and {w1}x{h1} pixels: {} needs both of one size",
                self.method.name()
            ));
        }
        Ok(())
    }

    fn check_batch_norm(&self) -> Result<(), ConfigError> {
        let (groups, batch) = (self.model.bn_groups, self.train.batch_size);
        if !batch.is_multiple_of(groups) {
            return invalid(format!(
                "model.bn_groups = {groups}: does not divide train.batch_size = {batch}, so \
                 choose a divisor of it"
            ));
        }
        if batch / groups < 2 {
            return invalid(format!(
                "model.bn_groups = {groups}: leaves {} of {batch} images in each group, and \
                 BatchNorm needs at least 2, so lower it or raise train.batch_size",
                batch / groups
            ));
        }
        Ok(())
    }

    fn check_schedule(&self) -> Result<(), ConfigError> {
        if let ScheduleConfig::Step { milestones, .. } = &self.optim.schedule
            && !milestones.is_sorted_by(|a, b| a < b)
        {
            return invalid(format!(
                "optim.schedule.milestones = {milestones:?}: must be in ascending order"
            ));
        }
        if self.optim.warmup_epochs > self.train.epochs as f64 {
            return invalid(format!(
                "optim.warmup_epochs = {}: longer than the {} epochs of the run, so shorten it",
                self.optim.warmup_epochs, self.train.epochs
            ));
        }
        Ok(())
    }
}

impl DataConfig {
    /// The views of training.
    ///
    /// # Errors
    /// [`ConfigError::View`] for the first that does not parse.
    pub fn parse_views(&self) -> Result<Vec<View>, ConfigError> {
        (0..).zip(&self.views).map(|(i, text)| view(&format!("data.views[{i}]"), text)).collect()
    }

    /// The view of evaluation.
    ///
    /// # Errors
    /// [`ConfigError::View`] if it does not parse.
    pub fn parse_eval_view(&self) -> Result<View, ConfigError> {
        view("data.eval_view", &self.eval_view)
    }
}

impl MethodConfig {
    /// The method's name, as in `--method`.
    pub fn name(&self) -> &'static str {
        match self {
            MethodConfig::MocoV1(_) => "moco-v1",
            MethodConfig::MocoV2(_) => "moco-v2",
        }
    }
}

/// Reads the view at `key`.
pub(super) fn view(key: &str, text: &str) -> Result<View, ConfigError> {
    text.parse().map_err(|source| ConfigError::View {
        key: key.to_owned(),
        text: text.to_owned(),
        source,
    })
}

fn invalid<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(message))
}
