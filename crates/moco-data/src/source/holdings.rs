//! What a source was taken to be, and what in it was passed over: said to the person, always.

use super::file_kind::is_unread;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a source was taken to be and what in it was passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// What was chosen, such as `3 tars` or ``Parquet, images in column `photo` ``.
    pub chosen: String,
    /// How many things of each kind were passed over, such as (`HEIC images`, 3).
    pub passed_over: BTreeMap<String, usize>,
    /// Whatever else a person should know, each a sentence without a full stop.
    pub notes: Vec<String>,
    /// Whether a note tells already that some images have no label.
    #[serde(skip)]
    pub(super) unlabelled_told: bool,
}

impl Holdings {
    /// Holdings of which only the choice is known.
    pub(super) fn of(chosen: impl Into<String>) -> Holdings {
        Holdings { chosen: chosen.into(), ..Holdings::default() }
    }

    /// Notes what the source was taken to be, unless that is known already.
    pub(super) fn choose(&mut self, chosen: &str) {
        if self.chosen.is_empty() {
            self.chosen = chosen.into();
        }
    }

    /// Counts `count` more things of a kind, named in the plural, that were passed over.
    pub(super) fn pass_over(&mut self, kind: &str, count: usize) {
        if count > 0 {
            *self.passed_over.entry(kind.into()).or_default() += count;
        }
    }

    /// Adds a sentence.
    pub(super) fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// Adds what was passed over and noted on the way to these holdings.
    pub(super) fn absorb(&mut self, before: Holdings) {
        for (kind, count) in before.passed_over {
            self.pass_over(&kind, count);
        }
        self.notes.extend(before.notes);
    }

    /// What was passed over, the most frequent first: `3 HEIC images, 1 text`; empty if nothing
    /// was.
    pub fn counts(&self) -> String {
        let mut counts: Vec<_> = self.passed_over.iter().collect();
        counts.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), kind.as_str()));
        let texts: Vec<_> = counts.into_iter().map(|(kind, count)| counted(*count, kind)).collect();
        texts.join(", ")
    }

    /// Kinds of images that were passed over because their format is not read, in the plural.
    pub fn unread(&self) -> Vec<&str> {
        let kinds = self.passed_over.keys().map(String::as_str);
        kinds.filter(|kind| is_unread(kind)).collect()
    }
}

/// A number of things of a kind that is named in the plural: of one, the singular.
pub(crate) fn counted(count: usize, kind: &str) -> String {
    let mut done = count != 1;
    let word = |word: &str| {
        if done || !word.ends_with('s') {
            return word.to_string();
        }
        done = true;
        match word.strip_suffix("ies") {
            Some(stem) => format!("{stem}y"),
            None => word[..word.len() - 1].to_string(),
        }
    };
    let words: Vec<_> = kind.split(' ').map(word).collect();
    format!("{count} {}", words.join(" "))
}

/// `train`, `train and test`, `train, val and test`.
pub(super) fn enumerated<T: AsRef<str>>(words: &[T]) -> String {
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        let gap = if i == 0 {
            ""
        } else if i + 1 == words.len() {
            " and "
        } else {
            ", "
        };
        out += gap;
        out += word.as_ref();
    }
    out
}

impl fmt::Display for Holdings {
    /// One line: the choice, then what was passed over, the most frequent first, then the notes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chosen)?;
        if !self.passed_over.is_empty() {
            write!(f, "; passed over: {}", self.counts())?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holdings_are_one_line() {
        let mut holdings = Holdings::of("2 tars");
        holdings.pass_over("images", 1);
        holdings.pass_over("HEIC images", 3);
        holdings.pass_over("nothings", 0);
        holdings.note("2 keys occur twice");
        let line = "2 tars; passed over: 3 HEIC images, 1 image; 2 keys occur twice";
        assert_eq!(holdings.to_string(), line);
        assert_eq!(holdings.unread(), ["HEIC images"]);
    }

    #[test]
    fn one_thing_is_named_in_the_singular() {
        assert_eq!(counted(1, "JPEG 2000 images"), "1 JPEG 2000 image");
        assert_eq!(counted(1, "DDS images"), "1 DDS image");
        assert_eq!(counted(1, "entries of links"), "1 entry of links");
        assert_eq!(counted(2, "texts"), "2 texts");
        assert_eq!(enumerated(&["a", "b", "c"]), "a, b and c");
        assert_eq!(enumerated(&["a"]), "a");
    }
}
