//! What method and backbone ask of the views.

use super::invalid;
use crate::config::error::shown;
use crate::config::{ConfigError, DataConfig, MethodConfig, PatchStem, RunConfig, VitModelConfig};
use moco_data::{ColorSpace, ParseViewError, View};

impl RunConfig {
    /// Refuses views that are not as many, or not of such sizes, as the method compares.
    pub(super) fn check_views(&self) -> Result<(), ConfigError> {
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
        check_ranges(seen())?;
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
        match views.find(wrong).map(|view| shown(&view.to_string())) {
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
        check_stem(vit)?;
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
}

fn check_stem(vit: &VitModelConfig) -> Result<(), ConfigError> {
    if vit.patch_stem == PatchStem::Linear {
        return Ok(());
    }
    if !(vit.patch.is_power_of_two() && (2..=64).contains(&vit.patch)) {
        return invalid(format!(
            "model.patch = {}: a stem of convolutions halves its way to the patch, so set it to a \
             power of two from 2 to 64",
            vit.patch
        ));
    }
    if vit.freeze_patch {
        return invalid(
            "model.freeze_patch = true: a stem of convolutions has no patch projection to freeze, \
             so set it to false"
                .to_owned(),
        );
    }
    Ok(())
}

/// Files are decoded once for all views, and for evaluation as for training.
fn check_ranges<'a>(mut views: impl Iterator<Item = &'a View>) -> Result<(), ConfigError> {
    let first = views.next().and_then(View::range);
    match views.find(|view| view.range() != first) {
        None => Ok(()),
        Some(view) => invalid(format!(
            "`{view}` reads the values of files otherwise than the first of data.views: begin each of \
             data.views and data.eval_view with the same range(...), or none"
        )),
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
            all.extend(views_at(&format!("data.views[{i}]"), text)?);
        }
        Ok(all)
    }

    /// The view of evaluation.
    ///
    /// # Errors
    /// [`ConfigError::View`] if it does not parse.
    pub fn parse_eval_view(&self) -> Result<View, ConfigError> {
        view_at("data.eval_view", &self.eval_view)
    }
}

/// Reads the view at `key`.
fn view_at(key: &str, text: &str) -> Result<View, ConfigError> {
    text.parse().map_err(|source| unreadable(key, text, source))
}

/// Reads the views at `key`, which are several if the text says so.
pub(in crate::config) fn views_at(key: &str, text: &str) -> Result<Vec<View>, ConfigError> {
    View::repeated(text).map_err(|source| unreadable(key, text, source))
}

fn unreadable(key: &str, text: &str, source: ParseViewError) -> ConfigError {
    ConfigError::View { key: key.to_owned(), text: shown(text), source }
}
