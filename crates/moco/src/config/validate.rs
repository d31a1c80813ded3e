//! What must hold between settings, beyond the range of each.

use super::{
    ConfigError, CpcConfig, DataConfig, FeatureKind, MethodConfig, MocoConfig, NormKind, PatchStem,
    RuleConfig, RunConfig, ScheduleConfig, SwAvConfig, keys,
};
use moco_data::{ColorSpace, ParseViewError, View};

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
        self.check_batch()?;
        self.check_schedule()?;
        self.check_monitor()
    }

    fn check_method(&self) -> Result<(), ConfigError> {
        match &self.method {
            MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => self.check_moco(moco),
            MethodConfig::SwAv(swav) => self.check_swav(swav),
            MethodConfig::Cpc(cpc) => self.check_cpc(cpc),
            MethodConfig::InvaSpread(_)
            | MethodConfig::SimClr(_)
            | MethodConfig::SimClrV2(_)
            | MethodConfig::MocoV3(_) => self.check_others(),
            MethodConfig::Mae(mae) if !mae.decoder_width.is_multiple_of(4 * mae.decoder_heads) => {
                invalid(format!(
                    "method.decoder_width = {}: must be a multiple of 4 times the {} heads, for \
                     the position embedding",
                    mae.decoder_width, mae.decoder_heads
                ))
            }
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
        let (batch, parts) = (self.train.batch_size, self.optim.accumulate);
        if batch / parts < 2 {
            return invalid(format!(
                "train.batch_size = {batch}: in {parts} parts it leaves images alone, and {} \
                 compares each with others, so raise it to at least {}",
                self.method.name(),
                2 * parts
            ));
        }
        Ok(())
    }

    /// Sinkhorn's equal shares mean little when most prototypes cannot get a single image.
    fn check_swav(&self, swav: &SwAvConfig) -> Result<(), ConfigError> {
        let (batch, assigned) = (self.train.batch_size, self.train.batch_size + swav.queue);
        if assigned * 8 < swav.prototypes {
            return invalid(format!(
                "method.prototypes = {}: too many for {assigned} images that are assigned at a \
                 time (a batch of {batch} and a queue of {}), so lower it to {} or raise \
                 method.queue",
                swav.prototypes,
                swav.queue,
                assigned * 8
            ));
        }
        if !swav.queue.is_multiple_of(batch) {
            return invalid(format!(
                "method.queue = {}: must be a multiple of train.batch_size = {batch}, or 0 for \
                 none",
                swav.queue
            ));
        }
        Ok(())
    }

    /// As many views, and of such sizes, as the method compares.
    fn check_views(&self) -> Result<(), ConfigError> {
        let views = self.data.parse_views()?;
        let eval = self.data.parse_eval_view()?;
        let name = self.method.name();
        let (needed, what) = match self.method {
            MethodConfig::InstDisc(_) | MethodConfig::Cmc(_) | MethodConfig::Mae(_) => {
                (1..=1, "1, since it looks at each image once")
            }
            MethodConfig::Cpc(_) => (1..=1, "1, a grid of patches"),
            MethodConfig::MocoV1(_) | MethodConfig::MocoV2(_) => {
                (2..=2, "2, one of the query and one of the key")
            }
            MethodConfig::SwAv(_) | MethodConfig::Dino(_) => {
                (2..=100, "2 at least, the first two of them large")
            }
            _ => (2..=2, "2, which are compared"),
        };
        if !needed.contains(&views.len()) {
            let exactly = if needed.start() == needed.end() { "exactly " } else { "" };
            return invalid(format!(
                "data.views has {} entries: {name} needs {exactly}{what}",
                views.len()
            ));
        }
        if let [first, second, ..] = views.as_slice()
            && first.size() != second.size()
        {
            let [[h0, w0], [h1, w1]] = [first.size(), second.size()];
            return invalid(format!(
                "data.views are {w0}x{h0} and {w1}x{h1} pixels: {name} needs both of one size"
            ));
        }
        let seen = || views.iter().chain([&eval]);
        self.check_contents(seen())?;
        self.check_patches(seen())
    }

    /// Patches where the method is made of them, colours apart where it needs them, and nowhere else.
    fn check_contents<'a>(
        &self,
        mut views: impl Iterator<Item = &'a View>,
    ) -> Result<(), ConfigError> {
        let name = self.method.name();
        let (cpc, cmc) = match self.method {
            MethodConfig::Cpc(_) => (true, false),
            MethodConfig::Cmc(_) => (false, true),
            _ => (false, false),
        };
        let wrong =
            |view: &&View| view.grid().is_some() != cpc || (view.space() != ColorSpace::Rgb) != cmc;
        match views.find(wrong) {
            None => Ok(()),
            Some(view) if cpc => invalid(format!(
                "`{view}` makes no patches, and cpc is made of them: add for example patches(8; \
                 stride=4) to data.views and data.eval_view"
            )),
            Some(view) if cmc => invalid(format!(
                "`{view}` leaves an image in RGB, and cmc needs lightness and colour apart: add lab \
                 or ycbcr to data.views and data.eval_view"
            )),
            Some(view) => invalid(format!(
                "`{view}` makes patches or another colour space, and {name} needs whole images in \
                 RGB"
            )),
        }
    }

    /// Whole patches only: a remainder would be cut off without a word.
    fn check_patches<'a>(
        &self,
        mut views: impl Iterator<Item = &'a View>,
    ) -> Result<(), ConfigError> {
        let Some(vit) = self.model.vit() else { return Ok(()) };
        if vit.patch_stem == PatchStem::Convolutions
            && !(vit.patch.is_power_of_two() && (2..=64).contains(&vit.patch))
        {
            return invalid(format!(
                "model.patch = {}: a stem of convolutions halves its way to the patch, so set it to \
                 a power of two from 2 to 64",
                vit.patch
            ));
        }
        let fits = |side: usize| side >= vit.patch && side.is_multiple_of(vit.patch);
        match views.find(|view| !view.size().into_iter().all(fits)) {
            Some(view) => {
                let [height, width] = view.size();
                invalid(format!(
                    "model.patch = {}: a view of {width}x{height} pixels does not split into whole \
                     patches of {} pixels, so change the patch or the view",
                    vit.patch, vit.patch
                ))
            }
            None => Ok(()),
        }
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

    fn check_batch(&self) -> Result<(), ConfigError> {
        let (batch, parts) = (self.train.batch_size, self.optim.accumulate);
        if !batch.is_multiple_of(parts) {
            return invalid(format!(
                "optim.accumulate = {parts}: does not divide train.batch_size = {batch}, so \
                 choose a divisor of it"
            ));
        }
        let Some(resnet) = self.model.resnet() else { return Ok(()) };
        let (groups, batch) = (resnet.bn_groups, batch / parts);
        if !batch.is_multiple_of(groups) {
            let of = if parts > 1 { "the parts of a batch, of size" } else { "train.batch_size =" };
            return invalid(format!(
                "model.bn_groups = {groups}: does not divide {of} {batch}, so choose a divisor of \
                 it"
            ));
        }
        if resnet.norm == NormKind::Batch && batch / groups < 2 {
            return invalid(format!(
                "model.bn_groups = {groups}: leaves {} of {batch} images in each group, and \
                 BatchNorm needs at least 2, so lower it or raise train.batch_size",
                batch / groups
            ));
        }
        Ok(())
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
                "optim.schedule.milestones = {milestones:?}: must be in ascending order"
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
        if let RuleConfig::Lars { trust, .. } = self.optim.rule
            && trust > 1.0
        {
            return invalid(format!("optim.trust = {trust}: must be at most 1"));
        }
        Ok(())
    }

    fn check_monitor(&self) -> Result<(), ConfigError> {
        let headless = matches!(self.method, MethodConfig::Cpc(_) | MethodConfig::Mae(_));
        if headless && self.monitor.knn_feature == FeatureKind::Head {
            return invalid(format!(
                "monitor.knn_feature = head: {} has no projection head, so set it to backbone",
                self.method.name()
            ));
        }
        Ok(())
    }
}

impl DataConfig {
    /// The views of training; an entry such as `6x crop(96)` stands for several.
    ///
    /// # Errors
    /// [`ConfigError::View`] for the first that does not parse.
    pub fn parse_views(&self) -> Result<Vec<View>, ConfigError> {
        let mut all = Vec::new();
        for (i, text) in self.views.iter().enumerate() {
            all.extend(views(&format!("data.views[{i}]"), text)?);
        }
        Ok(all)
    }

    /// The view of evaluation.
    ///
    /// # Errors
    /// [`ConfigError::View`] if it does not parse.
    pub fn parse_eval_view(&self) -> Result<View, ConfigError> {
        view("data.eval_view", &self.eval_view)
    }
}

/// Reads the view at `key`.
pub(super) fn view(key: &str, text: &str) -> Result<View, ConfigError> {
    text.parse().map_err(|source| unreadable(key, text, source))
}

/// Reads the views at `key`, which are several if the text says so.
pub(super) fn views(key: &str, text: &str) -> Result<Vec<View>, ConfigError> {
    View::repeated(text).map_err(|source| unreadable(key, text, source))
}

fn unreadable(key: &str, text: &str, source: ParseViewError) -> ConfigError {
    ConfigError::View { key: key.to_owned(), text: text.to_owned(), source }
}

fn invalid<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(message))
}
