//! Recipes: named starting points, embedded from `configs/*.toml`.
//!
//! A recipe is one TOML file whose comment header says which published row it reproduces, with
//! which command, on what hardware, in how many hours, and what to expect. It may leave out
//! whatever [`super::resolve`] can derive from the data.

use super::read::{parse_tree, read_tree};
use crate::config::{ConfigError, Recipe};
use std::path::Path;
use toml::Table;

/// The named files of `configs/`.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(Recipe {
            name: $name,
            text: include_str!(concat!("../../../../configs/", $name, ".toml")),
        }),*]
    };
}

const RECIPES: &[Recipe] = embedded![
    "instdisc-imagenet",
    "instdisc-softmax-imagenet",
    "instdisc-cifar10",
    "instdisc-small",
    "cpc-imagenet",
    "cpc-cifar10",
    "cpc-small",
    "invaspread-imagenet",
    "invaspread-cifar10",
    "invaspread-small",
    "cmc-imagenet",
    "cmc-half-imagenet",
    "cmc-nce-imagenet",
    "cmc-cifar10",
    "cmc-small",
    "moco-v1-imagenet",
    "moco-v1-cifar10",
    "moco-v1-small",
    "simclr-imagenet",
    "simclr-100-imagenet",
    "simclr-2x-imagenet",
    "simclr-4x-imagenet",
    "simclr-cifar10",
    "simclr-small",
    "moco-v2-imagenet",
    "moco-v2-cifar10",
    "moco-v2-small",
    "byol-imagenet",
    "byol-100-imagenet",
    "byol-300-imagenet",
    "byol-cifar10",
    "byol-small",
    "simclr-v2-imagenet",
    "simclr-v2-2x-imagenet",
    "simclr-v2-101-imagenet",
    "simclr-v2-101-2x-imagenet",
    "simclr-v2-152-imagenet",
    "simclr-v2-152-2x-imagenet",
    "simclr-v2-sk-imagenet",
    "simclr-v2-2x-sk-imagenet",
    "simclr-v2-101-sk-imagenet",
    "simclr-v2-101-2x-sk-imagenet",
    "simclr-v2-152-sk-imagenet",
    "simclr-v2-152-2x-sk-imagenet",
    "simclr-v2-152-3x-sk-imagenet",
    "simclr-v2-cifar10",
    "simclr-v2-small",
    "swav-imagenet",
    "swav-100-imagenet",
    "swav-200-imagenet",
    "swav-400-imagenet",
    "swav-800-imagenet",
    "swav-2x224-imagenet",
    "swav-cifar10",
    "swav-small",
    "simsiam-imagenet",
    "simsiam-cifar10",
    "simsiam-small",
    "moco-v3-imagenet",
    "moco-v3-300-imagenet",
    "moco-v3-1000-imagenet",
    "moco-v3-vit-imagenet",
    "moco-v3-vit-base-imagenet",
    "moco-v3-vit-conv-imagenet",
    "moco-v3-cifar10",
    "moco-v3-small",
    "moco-v3-vit-small",
    "dino-imagenet",
    "dino-boost-imagenet",
    "dino-s8-imagenet",
    "dino-b16-imagenet",
    "dino-b8-imagenet",
    "dino-resnet50-imagenet",
    "dino-cifar10",
    "dino-small",
    "mae-imagenet",
    "mae-large-imagenet",
    "mae-huge-imagenet",
    "mae-cifar10",
    "mae-small",
    "demo",
];

/// All recipes.
pub fn recipes() -> &'static [Recipe] {
    RECIPES
}

impl Recipe {
    /// The recipe of that name.
    ///
    /// # Errors
    /// [`ConfigError::UnknownName`], with the nearest name and all of them.
    pub fn named(name: &str) -> Result<&'static Recipe, ConfigError> {
        RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
            let known: Vec<_> = RECIPES.iter().map(|recipe| recipe.name).collect();
            ConfigError::unknown_name("recipe", name, &known)
        })
    }

    /// The settings.
    ///
    /// # Errors
    /// None for the recipes of [`recipes`]: a test reads them all.
    pub fn tree(&self) -> Result<Table, ConfigError> {
        parse_tree(self.text)
    }
}

/// The settings of a recipe given by name, or of a file when `recipe` ends in `.toml`.
///
/// # Errors
/// An unknown name, a file that cannot be read, or anything wrong in it.
pub fn load_recipe(recipe: &str) -> Result<Table, ConfigError> {
    let path = Path::new(recipe);
    if path.extension().is_some_and(|extension| extension == "toml") {
        read_tree(path)
    } else {
        Recipe::named(recipe)?.tree()
    }
}
