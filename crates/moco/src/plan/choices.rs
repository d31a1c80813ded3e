//! Settings that a program chooses, without TOML of its own.

use super::{Resolved, load_recipe, resolve, set};
use crate::config::{ConfigError, DataFacts};
use moco_data::Dataset;
use std::path::Path;
use toml::{Table, Value};

/// What is chosen of a run; the rest follows from the images.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let images = folder.path();
/// # for i in 0..16 {
/// #     let image = moco_data::Image::filled(40, 40, [10 * i, 0, 9]);
/// #     moco_data::save_png(&image, &images.join(format!("{i}.png")))?;
/// # }
/// use moco::plan::Choices;
/// use moco_data::Dataset;
///
/// let chosen = Choices::recipe("moco-v2-small")?
///     .path("data.path", images)?
///     .set("train.batch_size", 16)?
///     .set("optim.lr", 0.03)?;
/// let resolved = chosen.resolve(&Dataset::open(images)?)?;
/// assert_eq!(resolved.config.train.batch_size, 16);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Choices(Table);

impl Choices {
    /// Nothing is chosen: MoCo v2, set up from the images.
    pub fn new() -> Choices {
        Choices::default()
    }

    /// What a recipe chooses, given by name or as a file that ends in `.toml`.
    ///
    /// # Errors
    /// As [`load_recipe`].
    pub fn recipe(recipe: &str) -> Result<Choices, ConfigError> {
        load_recipe(recipe).map(Choices)
    }

    /// Chooses the value of a setting by its dotted name, such as `optim.lr`: a number, a flag, a
    /// text, or several texts for `data.views`.
    ///
    /// # Errors
    /// An unknown name, a wrong type, a value out of range, or a method other than the recipe's.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Result<Choices, ConfigError> {
        set(&mut self.0, name, value.into())?;
        Ok(self)
    }

    /// Chooses a setting that is a path, such as `data.path`.
    ///
    /// # Errors
    /// As [`Choices::set`], and a path that is not UTF-8.
    pub fn path(self, name: &str, path: &Path) -> Result<Choices, ConfigError> {
        let text = path.to_str().ok_or_else(|| {
            let path = path.display();
            ConfigError::Invalid(format!("{path} is not valid UTF-8: rename it for {name}"))
        })?;
        self.set(name, text)
    }

    /// The whole configuration, with what the images leave no doubt about, and why.
    ///
    /// # Errors
    /// As [`resolve`], and as [`DataFacts::of`].
    pub fn resolve(&self, images: &Dataset) -> Result<Resolved, ConfigError> {
        resolve(&self.0, &DataFacts::of(images)?)
    }
}
