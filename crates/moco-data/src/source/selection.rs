//! What a path asks for behind its place: `photos:test`, `set.parquet:column=photo:labels=breed`,
//! `shards:source=tar`.

use crate::error::DataError;
use std::path::Path;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Validation,
    Test,
}

/// A kind of source, where a folder holds several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Image files.
    Images,
    /// Tars.
    Tar,
    /// Parquet.
    Parquet,
    /// A list of paths.
    List,
}

/// What is asked for; by default, everything is left to what the source holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub part: Option<Part>,
    pub source: Option<Source>,
    /// The column of images of a table, or of paths of a list.
    pub column: Option<String>,
    /// The column of labels of a table or list.
    pub labels: Option<String>,
}

impl Part {
    /// The shortest word that stands for the part behind a `:`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "val",
            Part::Test => "test",
        }
    }

    /// What its images are called.
    pub(super) fn images(self) -> &'static str {
        match self {
            Part::Train => "training",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }

    /// The part that a word stands for, as it is written behind a `:`.
    pub(super) fn of_word(word: &str) -> Option<Part> {
        match word {
            "train" => Some(Part::Train),
            "val" | "valid" | "validation" => Some(Part::Validation),
            "test" => Some(Part::Test),
            _ => None,
        }
    }
}

impl Source {
    /// The word that stands for it behind `source=`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::Images => "images",
            Source::Tar => "tar",
            Source::Parquet => "parquet",
            Source::List => "list",
        }
    }

    /// What it consists of, in the plural, as [`super::Holdings`] count it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Source::Images => "images",
            Source::Tar => "tars",
            Source::Parquet => "Parquet files",
            Source::List => "lists of paths",
        }
    }

    fn of_word(word: &str) -> Option<Source> {
        match word {
            "images" => Some(Source::Images),
            "tar" => Some(Source::Tar),
            "parquet" => Some(Source::Parquet),
            "list" => Some(Source::List),
            _ => None,
        }
    }
}

impl Selection {
    /// The place that a text names, and what is asked for of it. What follows a `:` and is none of
    /// the known words belongs to the place.
    pub(super) fn parse(text: &str) -> (&str, Selection) {
        let mut selection = Selection::default();
        let mut place = text;
        while let Some((before, word)) = place.rsplit_once(':') {
            if !selection.take(word) {
                break;
            }
            place = before;
        }
        (place, selection)
    }

    /// This selection without its part, for a source that is that part already.
    pub(super) fn whole(&self) -> Selection {
        Selection { part: None, ..self.clone() }
    }

    /// Whether what is asked for can be had of a source of this kind, or of another than all.
    pub(super) fn check(&self, place: &Path, opened: Option<Source>) -> Result<(), DataError> {
        if self.source.is_some() && self.source != opened {
            return Err(self.no_source(place));
        }
        let columns = self.column.is_some() || self.labels.is_some();
        if columns && !matches!(opened, Some(Source::Parquet | Source::List)) {
            return Err(DataError::NoSource {
                path: place.into(),
                wanted: "columns to choose among",
                mend: "leave `:column=` and `:labels=` out".into(),
            });
        }
        Ok(())
    }

    /// The error that there is nothing of the kind of source that is asked for.
    pub(super) fn no_source(&self, place: &Path) -> DataError {
        let source = self.source.unwrap_or(Source::Images);
        let (wanted, name) = (source.plural(), source.name());
        DataError::NoSource {
            path: place.into(),
            wanted,
            mend: format!("leave `:source={name}` out"),
        }
    }

    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        *self == Selection::default()
    }

    /// Notes a word; false if it is not known.
    fn take(&mut self, word: &str) -> bool {
        match word.split_once('=') {
            Some(("column", name)) => self.column = Some(name.into()),
            Some(("labels", name)) => self.labels = Some(name.into()),
            Some(("source", name)) => {
                let Some(source) = Source::of_word(name) else { return false };
                self.source = Some(source);
            }
            _ => {
                let Some(part) = Part::of_word(word) else { return false };
                self.part = Some(part);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_place() {
        assert_eq!(Selection::parse("a:b"), ("a:b", Selection::default()));
        let (place, asked) = Selection::parse("a:b:test:column=photo:labels=breed:source=parquet");
        assert_eq!(place, "a:b");
        let expected = Selection {
            part: Some(Part::Test),
            source: Some(Source::Parquet),
            column: Some("photo".into()),
            labels: Some("breed".into()),
        };
        assert_eq!(asked, expected);
        assert_eq!(Selection::parse("a:val").1.part, Some(Part::Validation));
        assert_eq!(Selection::parse("a:source=zip"), ("a:source=zip", Selection::default()));
    }
}
