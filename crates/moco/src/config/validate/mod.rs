//! What must hold between settings, beyond the range of each.

mod batch;
mod method;
mod views;

use super::error::shown;
use super::{
    ConfigError, FeatureKind, MethodConfig, NormKind, ResNetConfig, RuleConfig, RunConfig,
    ScheduleConfig, StemKind, keys,
};
pub(super) use views::views_at;

/// Residual networks whose blocks are no bottlenecks.
const BASIC: [&str; 2] = ["resnet18", "resnet34"];

impl RunConfig {
    /// Checks every value and every relation between values.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let tree =
            toml::Table::try_from(self).map_err(|error| ConfigError::Invalid(error.to_string()))?;
        keys::check_complete(&tree)?;
        self.check_views()?;
        self.check_method()?;
        self.check_model()?;
        self.check_maps()?;
        self.check_blocks()?;
        self.check_batch()?;
        self.check_schedule()?;
        self.check_monitor()
    }

    fn check_model(&self) -> Result<(), ConfigError> {
        let (backbone, name) = (&self.model.backbone, self.method.name());
        match (&self.method, self.model.resnet()) {
            (MethodConfig::Mae(_), Some(_)) => invalid(format!(
                "model.backbone = {backbone}: mae hides patches of a vision transformer, so choose \
                 a vit"
            )),
            (MethodConfig::Cpc(_) | MethodConfig::Cmc(_), None) => invalid(format!(
                "model.backbone = {backbone}: {name} is made of residual networks, so choose a \
                 resnet"
            )),
            (MethodConfig::Cpc(_), Some(resnet)) if resnet.norm == NormKind::Batch => invalid(
                "model.norm = batch: cpc's patches would see one another through the statistics \
                 of the batch, so set it to layer"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
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
        let (views, eval) = (self.data.parse_views()?, self.data.parse_eval_view()?);
        let mut all = views.iter().chain([&eval]);
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

    fn check_monitor(&self) -> Result<(), ConfigError> {
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
        self.check_feature("monitor.knn_feature", monitor.knn_feature)
    }

    /// Checks that the encoder has an output, which `setting` asks for.
    ///
    /// # Errors
    /// If it has not.
    pub fn check_feature(&self, setting: &str, feature: FeatureKind) -> Result<(), ConfigError> {
        let headless = matches!(self.method, MethodConfig::Cpc(_) | MethodConfig::Mae(_));
        match feature {
            FeatureKind::Head if headless => invalid(format!(
                "{setting} = head: {} has no projection head, so set it to backbone",
                self.method.name()
            )),
            FeatureKind::LastBlocks | FeatureKind::ClassAndPatches
                if self.model.vit().is_none() =>
            {
                invalid(format!(
                    "{setting} = {}: {} has no class tokens, which are a transformer's, so set it \
                     to backbone",
                    feature.name(),
                    self.model.backbone
                ))
            }
            _ => Ok(()),
        }
    }
}

fn invalid<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(message))
}
