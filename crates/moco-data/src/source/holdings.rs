//! What a source was taken to be, and what in it was passed over: said to the person, always.

use std::collections::BTreeMap;
use std::fmt;

/// What a source was taken to be and what in it was passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// What was chosen, such as `3 tars` or ``Parquet, images in column `photo` ``.
    pub chosen: String,
    /// How many things of each kind were passed over, such as (`HEIC images`, 3).
    pub passed_over: BTreeMap<String, usize>,
    /// Whatever else a person should know, each a sentence without a full stop.
    pub notes: Vec<String>,
}

impl Holdings {
    /// Holdings of which only the choice is known.
    pub(super) fn of(chosen: impl Into<String>) -> Holdings {
        Holdings { chosen: chosen.into(), ..Holdings::default() }
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
}

impl fmt::Display for Holdings {
    /// One line: the choice, then what was passed over, the most frequent first, then the notes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chosen)?;
        let mut counts: Vec<_> = self.passed_over.iter().collect();
        counts.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), kind.as_str()));
        for (i, (kind, count)) in counts.into_iter().enumerate() {
            f.write_str(if i == 0 { "; passed over: " } else { ", " })?;
            write!(f, "{count} {kind}")?;
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
        let line = "2 tars; passed over: 3 HEIC images, 1 images; 2 keys occur twice";
        assert_eq!(holdings.to_string(), line);
    }
}
