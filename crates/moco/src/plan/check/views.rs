//! What method and backbone ask of the views.

use super::{Candidate, invalid};
use crate::config::{ConfigError, DataConfig, PatchStem, VitModelConfig, shown};
use crate::methods::Sees;
use moco_data::{ColorSpace, ParseViewError, View};

/// The views of a run.
pub(in crate::plan) struct Views {
    /// Views of training; an entry such as `6x crop(96)` stands for several.
    pub training: Vec<View>,
    /// The view of evaluation.
    pub eval: View,
}

impl Views {
    /// Reads what the configuration says.
    ///
    /// # Errors
    /// [`ConfigError::View`] for the first that does not parse.
    pub fn parse(data: &DataConfig) -> Result<Views, ConfigError> {
        let mut training = Vec::new();
        for (i, text) in data.views.iter().enumerate() {
            training.extend(views_at(&format!("data.views[{i}]"), text)?);
        }
        Ok(Views { training, eval: view_at("data.eval_view", &data.eval_view)? })
    }

    /// All of them, that of evaluation last.
    pub fn all(&self) -> impl Iterator<Item = &View> {
        self.training.iter().chain([&self.eval])
    }
}

impl Candidate<'_> {
    /// Refuses views that are not as many, or not of such sizes, as the method compares.
    pub(in crate::plan) fn check_views(&self) -> Result<(), ConfigError> {
        let views = &self.views.training;
        let name = self.method.name();
        let ([least, most], what) = (self.profile.views, self.profile.views_are);
        if !(least..=most).contains(&views.len()) {
            let exactly = if least == most { "exactly " } else { "" };
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
        check_ranges(self.views.all())?;
        self.check_contents(self.views.all())?;
        self.check_patches(self.views.all())
    }

    /// Patches where the method is made of them, colours apart where it needs them, and nowhere else.
    fn check_contents<'a>(
        &self,
        mut views: impl Iterator<Item = &'a View>,
    ) -> Result<(), ConfigError> {
        let name = self.method.name();
        let sees = self.profile.sees;
        let (patches, split) = (sees == Sees::Patches, sees == Sees::Split);
        let wrong = |view: &&View| {
            view.grid().is_some() != patches || (view.space() != ColorSpace::Rgb) != split
        };
        match views.find(wrong).map(|view| shown(&view.to_string())) {
            None => Ok(()),
            Some(view) if patches => invalid(format!(
                "`{view}` makes no patches, and {name} is made of them: add for example patches(8; \
                 stride=4) to data.views and data.eval_view"
            )),
            Some(view) if split => invalid(format!(
                "`{view}` leaves an image in RGB, and {name} needs lightness and colour apart: add lab \
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

/// Reads the view at `key`.
fn view_at(key: &str, text: &str) -> Result<View, ConfigError> {
    text.parse().map_err(|source| unreadable(key, text, source))
}

/// Reads the views at `key`, which are several if the text says so.
pub(in crate::plan) fn views_at(key: &str, text: &str) -> Result<Vec<View>, ConfigError> {
    View::repeated(text).map_err(|source| unreadable(key, text, source))
}

fn unreadable(key: &str, text: &str, source: ParseViewError) -> ConfigError {
    ConfigError::View { key: key.to_owned(), text: shown(text), source }
}
