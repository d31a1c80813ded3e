//! What a method says of itself before it trains: its settings, what suits it, what it asks of a run.
//!
//! A method is a folder of this module. Its `mod.rs` is the paper's page, its `spec.rs` a [`Spec`] and
//! the struct of its settings as [`MethodSettings`]. A method of the library stands in
//! [`super::REGISTRY`]; one from outside is added with [`super::register`], and then has settings,
//! defaults, checks, checkpoints and evaluation as the library's own.

use super::{Holds, Method};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, OptimDefaults, Protocol, Recipe, Refit, RunConfig,
    Scale,
};
use crate::layout::Layout;
use crate::models::{Encode, NetworkSpec, VitForm};
use burn::tensor::Device;
use moco_data::View;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::fmt::Debug;
use toml::Table;

/// A method before it has settings.
pub trait Spec: Any + Send + Sync {
    /// What there is to know before trying it; its name is the method's name everywhere.
    fn card(&self) -> Card;

    /// What it asks of views, and what it does with a batch.
    fn profile(&self) -> Profile;

    /// Its settings, in the order in which a configuration lists them: the `FIELDS` that
    /// [`crate::settings!`] makes.
    fn fields(&self) -> &'static [Field];

    /// Gives the settings that are still open their values: as published, or in proportion to the data.
    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>);

    /// Reads the settings, by [`Settled::read`] of their struct.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] if they do not make the struct.
    fn read(&self, settings: Table) -> Result<Settled, ConfigError>;

    /// The backbone that suits it.
    fn backbone(&self, scale: &Scale<'_>) -> BackboneDefaults;

    /// The optimiser of its paper.
    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults;

    /// The views of training as text, for square images of `size` pixels.
    fn views(&self, size: usize) -> Vec<String>;

    /// The view of evaluation as text, for square images of `size` pixels.
    fn eval_view(&self, size: usize) -> String;

    /// The linear probe of its paper. Where paper and published code differ, this is the code.
    fn probe(&self, network: &NetworkSpec) -> Protocol;

    /// How its paper changes a network before it fine-tunes it.
    fn refit(&self) -> Refit {
        Refit::NOTHING
    }

    /// What comes with the paper of a transformer's first weights and positions.
    fn transformer(&self) -> VitForm {
        VitForm::PLAIN
    }

    /// Its named starting points.
    fn recipes(&self) -> &'static [Recipe] {
        &[]
    }
}

/// The settings of a method, once they have values: what they check, and what is built of them.
pub trait MethodSettings: Any + Debug + Send + Sync {
    /// Refuses what goes not together among the method's settings, or with the rest of a run.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], one sentence that names the setting and the mend.
    fn check(&self, _run: &RunConfig, _views: &[View]) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Whether a head of the method normalises over the images of a batch.
    fn has_batch_norm(&self) -> bool;

    /// The method at its start, with weights drawn from the network's seed.
    fn build(&self, site: &Site<'_>) -> Box<dyn Method>;

    /// The network that evaluation needs, untrained, without the rest of the method.
    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode>;

    /// What the method keeps in memory besides the backbone that it trains, whose features are
    /// `features` wide; `images` is the size of the data set.
    fn holds(&self, _features: Width, _network: &NetworkSpec, _images: usize) -> Holds {
        Holds::default()
    }

    /// How the published code names the tensors of all that the method trains, where files are exported
    /// under these names.
    fn layout(&self) -> Option<Layout> {
        None
    }
}

/// A layer's width, and the setting that it comes from.
pub type Width = (usize, &'static str);

/// What a method is built from, besides its settings.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The backbone, and the seed of all weights.
    pub network: &'a NetworkSpec,
    /// Rows and columns of the patches that the first view cuts an image into; one of each for whole
    /// images.
    pub grid: [usize; 2],
    /// Size of the data set: banks have a row for each image. Of no account for an encoder.
    pub images: usize,
    /// Images that a loss compares at a time: the batch, or a part of it. Of no account for an encoder.
    pub compared: usize,
    /// The plain device; the trained networks of a method are put on its autodiff side.
    pub device: &'a Device,
}

/// Settings as their struct, and as the values that a file has of them.
pub struct Settled {
    /// The struct.
    pub settings: Box<dyn MethodSettings>,
    /// All values, those included that the file left to the struct.
    pub values: Table,
}

impl Settled {
    /// Reads the struct `T`.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] if the values do not make one.
    pub fn read<T>(values: Table) -> Result<Settled, ConfigError>
    where
        T: MethodSettings + DeserializeOwned + Serialize,
    {
        let wrong = |message: &str| ConfigError::syntax(message);
        let settings: T = values.try_into().map_err(|e: toml::de::Error| wrong(e.message()))?;
        let values = Table::try_from(&settings).map_err(|e| wrong(&e.to_string()))?;
        Ok(Settled { settings: Box::new(settings), values })
    }
}

/// What there is to know about a method before trying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Name, as in `--method`.
    pub name: &'static str,
    /// The paper: authors, year, arXiv number.
    pub paper: &'static str,
    /// The idea in one line.
    pub idea: &'static str,
    /// What it carries besides the network that is trained.
    pub state: &'static str,
    /// The batch it wants.
    pub batch: &'static str,
}

/// What a method sees of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// The image.
    Whole,
    /// Its patches, which the view has to cut.
    Patches,
    /// Luminance and colour apart, which the view has to separate.
    Split,
}

/// What a method asks of views, and what it does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Views of an image, at least and at most.
    pub views: [usize; 2],
    /// How many views, and what for, as the end of a sentence: "2, which are compared".
    pub views_are: &'static str,
    /// What it sees of an image.
    pub sees: Sees,
    /// Whether images go through a projection head, whose output can be evaluated.
    pub head: bool,
    /// Whether its loss compares the images of a batch, so that `optim.accumulate_exact` has a meaning;
    /// then the method is a [`super::Compare`].
    pub compares: bool,
    /// Whether it remembers each image of the data set by its number.
    pub remembers: bool,
    /// Whether several ranks train it as one process would.
    pub ranks: bool,
}

impl Profile {
    /// Two views of each image through an encoder with a head, on one rank.
    pub const PAIR: Profile = Profile {
        views: [2, 2],
        views_are: "2, which are compared",
        sees: Sees::Whole,
        head: true,
        compares: false,
        remembers: false,
        ranks: false,
    };

    /// One view of each image through an encoder with a head, on one rank.
    pub const SINGLE: Profile = Profile {
        views: [1, 1],
        views_are: "1, since it looks at each image once",
        ..Profile::PAIR
    };

    /// Two large views, and as many small ones as one likes.
    pub const MULTI_CROP: Profile = Profile {
        views: [2, 100],
        views_are: "2 at least, the first two of them large",
        ..Profile::PAIR
    };
}
