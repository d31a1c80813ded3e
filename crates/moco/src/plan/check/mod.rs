//! What must hold between settings, beyond the range of each.

mod batch;
mod views;

use super::Plan;
use crate::config::{
    ConfigError, FeatureKind, NormKind, ResNetConfig, RuleConfig, RunConfig, ScheduleConfig,
    StemKind, shown,
};
use crate::methods::{MethodSettings, Profile};
use crate::models::{LAST_BLOCKS, NetworkSpec};
use std::ops::Deref;
pub(super) use views::{Views, views_at};

/// Residual networks whose blocks are no bottlenecks.
const BASIC: [&str; 2] = ["resnet18", "resnet34"];

/// A configuration that is being checked, value by value in range already.
pub(super) struct Candidate<'a> {
    pub config: &'a RunConfig,
    pub profile: Profile,
    pub views: &'a Views,
}

impl Deref for Candidate<'_> {
    type Target = RunConfig;

    fn deref(&self) -> &RunConfig {
        self.config
    }
}

impl Candidate<'_> {
    /// Refuses what no backbone can be built from.
    pub(super) fn check_model(&self) -> Result<(), ConfigError> {
        self.check_maps()?;
        self.check_blocks()
    }

    /// Refuses what goes not together of batch, schedule and monitors.
    pub(super) fn check_rest(
        &self,
        method: &dyn MethodSettings,
        network: &NetworkSpec,
    ) -> Result<(), ConfigError> {
        self.check_batch(has_batch_norm(self.config, method))?;
        self.check_schedule()?;
        self.check_monitor(network)
    }

    /// Refuses a residual network whose blocks were not given for each stage, or whose parts do not go
    /// together.
    fn check_blocks(&self) -> Result<(), ConfigError> {
        let Some(resnet) = self.model.resnet() else { return Ok(()) };
        self.check_parts(resnet)?;
        let Some(blocks) = &resnet.blocks else { return Ok(()) };
        if blocks.len() == resnet.stages && blocks.iter().all(|n| (1..=100).contains(n)) {
            return Ok(());
        }
        invalid(format!(
            "model.blocks = {}: needs a number from 1 to 100 for each of the model.stages = {}",
            shown(&format!("{blocks:?}")),
            resnet.stages
        ))
    }

    fn check_parts(&self, resnet: &ResNetConfig) -> Result<(), ConfigError> {
        let name = &self.model.backbone;
        let stem = resnet.stem_width.unwrap_or(resnet.width);
        if resnet.stem == StemKind::Deep && !stem.is_multiple_of(2) {
            return invalid(format!(
                "model.stem = deep: its first layers have half of the {stem} channels, so make \
                 model.stem_width even"
            ));
        }
        match resnet.sk_ratio {
            Some(ratio) if BASIC.contains(&name.as_str()) => invalid(format!(
                "model.sk_ratio = {ratio}: {name} has no bottlenecks, whose kernels could be selected, so \
                 choose resnet50 or larger"
            )),
            Some(ratio) if resnet.norm != NormKind::Batch => invalid(format!(
                "model.sk_ratio = {ratio}: the layers that weigh the kernels have BatchNorm, so set \
                 model.norm to batch"
            )),
            Some(ratio) if ratio > 1.0 => invalid(format!(
                "model.sk_ratio = {ratio}: must be at most 1, a share of the block's width"
            )),
            _ => Ok(()),
        }
    }

    /// A normalisation over whole maps is made for images of one size.
    fn check_maps(&self) -> Result<(), ConfigError> {
        if self.model.resnet().is_none_or(|resnet| resnet.norm != NormKind::Map) {
            return Ok(());
        }
        let mut all = self.views.all();
        let first = all.next().map(moco_data::View::size);
        match all.find(|view| Some(view.size()) != first) {
            None => Ok(()),
            Some(view) => invalid(format!(
                "model.norm = map: normalises maps of one size, and `{}` makes another than the first of \
                 data.views, so cut them alike or set it to layer",
                shown(&view.to_string())
            )),
        }
    }

    fn check_schedule(&self) -> Result<(), ConfigError> {
        let (milestones, factors) = match &self.optim.schedule {
            ScheduleConfig::Step { milestones, .. } => (milestones.as_slice(), None),
            ScheduleConfig::Factors { milestones, factors } => {
                (milestones.as_slice(), Some(factors.len()))
            }
            _ => (&[][..], None),
        };
        if !milestones.is_sorted_by(|a, b| a < b) {
            return invalid(format!(
                "optim.schedule.milestones = {}: must be in ascending order",
                shown(&format!("{milestones:?}"))
            ));
        }
        if let Some(factors) = factors.filter(|factors| *factors != milestones.len()) {
            return invalid(format!(
                "optim.schedule.factors has {factors} entries: needs one for each of the {} \
                 milestones",
                milestones.len()
            ));
        }
        if self.optim.warmup_epochs > self.train.epochs as f64 {
            return invalid(format!(
                "optim.warmup_epochs = {}: longer than the {} epochs of the run, so shorten it",
                self.optim.warmup_epochs, self.train.epochs
            ));
        }
        if let (Some(start), true) = (self.optim.warmup_start, self.optim.warmup_epochs == 0.0) {
            return invalid(format!(
                "optim.warmup_start = {start}: there is no warm-up that could begin there, so leave it \
                 out or set optim.warmup_epochs"
            ));
        }
        if self.optim.warmup_inclusive == Some(true) && self.optim.warmup_epochs == 0.0 {
            return invalid(
                "optim.warmup_inclusive = true: there is no warm-up whose last step it could be, so leave \
                 it out or set optim.warmup_epochs"
                    .to_owned(),
            );
        }
        if let RuleConfig::Lars { trust, .. } = self.optim.rule
            && trust > 1.0
        {
            return invalid(format!("optim.trust = {trust}: must be at most 1"));
        }
        Ok(())
    }

    fn check_monitor(&self, network: &NetworkSpec) -> Result<(), ConfigError> {
        let monitor = &self.monitor;
        if monitor.asks_bank() && monitor.knn_feature != FeatureKind::Head {
            return invalid(format!(
                "monitor.knn_bank = true: the memory holds outputs of the head, and \
                 monitor.knn_feature = {} is another, so set that to head",
                monitor.knn_feature.name()
            ));
        }
        if monitor.asks_bank() && monitor.knn_test.is_none() {
            return invalid(
                "monitor.knn_bank = true: every training image is in the memory, so set \
                 monitor.knn_test to labelled images that are not"
                    .to_owned(),
            );
        }
        let method = (self.config.method.name(), self.profile);
        check_feature(method, network, "monitor.knn_feature", monitor.knn_feature)
    }
}

impl Plan {
    /// Whether backbone or head normalise over the images of a batch.
    pub fn has_batch_norm(&self) -> bool {
        has_batch_norm(&self.config, self.settings())
    }

    /// Checks that the encoder has an output, which `setting` asks for.
    ///
    /// # Errors
    /// If it has not.
    pub fn check_feature(&self, setting: &str, feature: FeatureKind) -> Result<(), ConfigError> {
        let method = (self.config.method.name(), self.spec.profile());
        check_feature(method, &self.network, setting, feature)
    }
}

fn has_batch_norm(config: &RunConfig, method: &dyn MethodSettings) -> bool {
    let in_backbone = config.model.resnet().is_some_and(|resnet| resnet.norm == NormKind::Batch);
    in_backbone || method.has_batch_norm()
}

fn check_feature(
    (method, profile): (&str, Profile),
    network: &NetworkSpec,
    setting: &str,
    feature: FeatureKind,
) -> Result<(), ConfigError> {
    let lacks = match (feature, network.vit()) {
        (FeatureKind::Backbone, _) => return Ok(()),
        (FeatureKind::Head, _) if profile.head => return Ok(()),
        (FeatureKind::Head, _) => format!("{method} has no projection head"),
        (_, None) => "a residual network has no class token, which is a transformer's".to_owned(),
        (_, Some(vit)) if !vit.class_token => "the network has no class token".to_owned(),
        (FeatureKind::LastBlocks, Some(vit)) if vit.depth < LAST_BLOCKS => {
            format!("it takes {LAST_BLOCKS} blocks, and the network has {}", vit.depth)
        }
        _ => return Ok(()),
    };
    invalid(format!("{setting} = {}: {lacks}, so set it to backbone", feature.name()))
}

fn invalid<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(message))
}
