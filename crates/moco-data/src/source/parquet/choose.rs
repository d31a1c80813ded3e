//! Which column holds the images and which the labels.
//!
//! The column of images is the one that is asked for; else, of those that are not named as masks,
//! one that Hugging Face's features call an image; else one of a usual name; else the first of
//! structs of bytes; else the first whose bytes begin as an image; else the first of paths to
//! images. The column of labels is the one that is asked for, else one that features call classes,
//! else one of a usual name. Of several in the features, one of a usual name comes before the first.

use super::features::Feature;
use super::schema::{Column, Kind};
use crate::error::DataError;
use crate::source::selection::Selection;
use crate::source::table::{self, LABEL_NAMES, NO_LABELS, PATH_NAMES};
use crate::source::{Holdings, listing, named_files};
use std::path::Path;

/// Usual names of columns of images.
const IMAGE_NAMES: [&str; 7] = ["image", "img", "jpg", "jpeg", "png", "webp", "bytes"];

/// The columns in use, by name.
pub(super) struct Choice {
    pub image: String,
    /// Whether the column of images holds paths to them.
    pub is_paths: bool,
    pub label: Option<String>,
    /// Whether the column of labels was not asked for.
    pub label_is_guess: bool,
    /// Whether other columns could have been the images'.
    pub had_others: bool,
}

/// What there is to choose from.
pub(super) struct Table<'a> {
    pub path: &'a Path,
    pub columns: &'a [Column],
    pub features: &'a [Feature],
    /// The first value of a leaf column of bytes or text, if there is one.
    pub first_value: &'a dyn Fn(usize) -> Option<Vec<u8>>,
}

impl Table<'_> {
    /// Chooses, and says of what is passed over.
    pub(super) fn choose(
        &self,
        asked: &Selection,
        holdings: &mut Holdings,
    ) -> Result<Choice, DataError> {
        let (image, is_paths) = match &asked.column {
            Some(name) => self.asked_image(name)?,
            None => self.guessed_image()?,
        };
        let others: Vec<&str> = self.images().map(|c| &*c.name).filter(|&n| n != image).collect();
        if asked.column.is_none() && !others.is_empty() {
            let names = table::listed(others.iter().copied());
            holdings.pass_over(&format!("other columns of images ({names})"), others.len());
        }
        let label = match &asked.labels {
            Some(name) => self.asked_label(name)?,
            None => self.guessed_label(asked, holdings),
        };
        Ok(Choice {
            image,
            is_paths,
            label,
            label_is_guess: asked.labels.is_none(),
            had_others: !others.is_empty(),
        })
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn asked_column(&self, name: &str) -> Result<&Column, DataError> {
        let names = || self.columns.iter().map(|column| &*column.name);
        self.column(name).ok_or_else(|| table::no_such_column(self.path, name, names()))
    }

    /// Columns of images or of bytes that begin as one, in their order.
    fn images(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| match &column.kind {
            Kind::Images { .. } => true,
            Kind::Bytes(leaf) => {
                IMAGE_NAMES.contains(&&*column.name) || self.begins_as_image(*leaf)
            }
            _ => false,
        })
    }

    fn begins_as_image(&self, leaf: usize) -> bool {
        (self.first_value)(leaf).is_some_and(|bytes| image::guess_format(&bytes).is_ok())
    }

    fn names_an_image(&self, leaf: usize) -> bool {
        let value = (self.first_value)(leaf).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(&value) else { return false };
        let beside = self.path.parent().is_some_and(|folder| folder.join(text).is_file());
        listing::is_image(text) || named_files::is_address(text) || (!text.is_empty() && beside)
    }

    fn asked_image(&self, name: &str) -> Result<(String, bool), DataError> {
        let column = self.asked_column(name)?;
        let mend = "choose a column of images with `:column=NAME`";
        match column.kind {
            Kind::Images { .. } => Ok((name.into(), false)),
            Kind::Text(leaf) | Kind::Bytes(leaf) if self.names_an_image(leaf) => {
                Ok((name.into(), true))
            }
            Kind::Bytes(_) => Ok((name.into(), false)),
            Kind::Text(_) => {
                let problem =
                    format!("holds text in its column `{name}`, neither images nor their paths");
                Err(table::fault(self.path, problem, mend))
            }
            Kind::ImageLists => Err(self.lists_of_images(name)),
            ref kind => {
                let problem = format!("holds {} in its column `{name}`, not images", kind.words());
                Err(table::fault(self.path, problem, mend))
            }
        }
    }

    fn lists_of_images(&self, name: &str) -> DataError {
        let problem = format!("holds a list of images per row in its column `{name}`");
        table::fault(self.path, problem, "write a table with one image per row")
    }

    fn guessed_image(&self) -> Result<(String, bool), DataError> {
        let featured = |column: &&Column| {
            let is = |f: &Feature| f.kind == "Image" && f.name == column.name;
            self.features.iter().any(is)
        };
        let images: Vec<&Column> = self.images().collect();
        let photos: Vec<&Column> =
            images.iter().copied().filter(|column| !table::is_mask(&column.name)).collect();
        let mut by_features: Vec<&Column> = photos.iter().copied().filter(featured).collect();
        by_features.sort_by_key(|c| self.features.iter().position(|f| f.name == c.name));
        let structs = photos.iter().copied().find(|c| matches!(c.kind, Kind::Images { .. }));
        let chosen = named(&by_features)
            .or_else(|| by_features.first().copied())
            .or_else(|| named(&photos))
            .or(structs)
            .or_else(|| photos.first().copied());
        if let Some(column) = chosen {
            let is_paths = match column.kind {
                Kind::Bytes(leaf) => !self.begins_as_image(leaf) && self.names_an_image(leaf),
                _ => false,
            };
            return Ok((column.name.clone(), is_paths));
        }
        if let Some(mask) = images.first() {
            return Err(self.only_masks(&images, &mask.name));
        }
        if let Some(lists) = self.columns.iter().find(|c| c.kind == Kind::ImageLists) {
            return Err(self.lists_of_images(&lists.name));
        }
        self.guessed_paths()
    }

    fn only_masks(&self, images: &[&Column], example: &str) -> DataError {
        let names = table::listed(images.iter().map(|column| &*column.name));
        let problem = format!("has no columns of images but {names}, named as masks or the like");
        table::fault(self.path, problem, format!("if one is meant, add `:column={example}`"))
    }

    fn guessed_paths(&self) -> Result<(String, bool), DataError> {
        let names_images = |column: &Column| match column.kind {
            Kind::Text(leaf) => self.names_an_image(leaf),
            _ => false,
        };
        let usual = PATH_NAMES.iter().filter_map(|name| self.column(name));
        let mut candidates = usual.chain(self.columns);
        if let Some(column) = candidates.find(|column| names_images(column)) {
            return Ok((column.name.clone(), true));
        }
        let columns = self.columns.iter().map(|c| format!("{} ({})", c.name, c.kind.words()));
        let columns: Vec<String> = columns.collect();
        let columns = table::listed(columns.iter().map(String::as_str));
        let problem = format!("has no column of images among {columns}");
        let mend =
            "write the images as bytes, or as structs of bytes and path as Hugging Face does";
        Err(table::fault(self.path, problem, mend))
    }

    fn asked_label(&self, name: &str) -> Result<Option<String>, DataError> {
        if name == NO_LABELS && self.column(name).is_none() {
            return Ok(None);
        }
        let column = self.asked_column(name)?;
        if is_label(&column.kind) {
            return Ok(Some(name.into()));
        }
        let problem = format!("holds {} in its column `{name}`, not labels", column.kind.words());
        let mend =
            "choose a column of text or whole numbers with `:labels=NAME`, or `:labels=none`";
        Err(table::fault(self.path, problem, mend))
    }

    fn guessed_label(&self, asked: &Selection, holdings: &mut Holdings) -> Option<String> {
        let rank =
            |f: &&Feature| LABEL_NAMES.iter().position(|n| f.name == *n).unwrap_or(usize::MAX);
        let mut classes: Vec<&Feature> =
            self.features.iter().filter(|f| f.kind == "ClassLabel").collect();
        classes.sort_by_key(rank);
        let classes = classes.into_iter().filter_map(|feature| self.column(&feature.name));
        let usual = LABEL_NAMES.iter().filter_map(|name| self.column(name));
        let mut found: Vec<&Column> = Vec::new();
        for column in classes.chain(usual) {
            let is_image = matches!(column.kind, Kind::Images { .. } | Kind::Bytes(_));
            if !is_image && !found.iter().any(|known| known.name == column.name) {
                found.push(column);
            }
        }
        let (usable, unusable): (Vec<&Column>, Vec<&Column>) =
            found.into_iter().partition(|column| is_label(&column.kind));
        let Some((first, others)) = usable.split_first() else {
            for Column { name, kind } in unusable {
                let words = kind.words();
                holdings.note(format!("the column `{name}` holds {words}, not read as labels"));
            }
            return None;
        };
        let others: Vec<&str> = others.iter().map(|column| &*column.name).collect();
        table::note_other_labels(holdings, asked, &others);
        Some(first.name.clone())
    }
}

/// The column of a usual name that comes first among these names.
fn named<'a>(columns: &[&'a Column]) -> Option<&'a Column> {
    IMAGE_NAMES.iter().find_map(|name| columns.iter().copied().find(|c| c.name == *name))
}

fn is_label(kind: &Kind) -> bool {
    use Kind::{Bools, Floats, Integers, Nulls, Text};
    matches!(kind, Bools(_) | Floats(_) | Integers { .. } | Nulls(_) | Text(_))
}
