//! What tables of images have in common, be they Parquet or text: names of columns, and labels that
//! may be missing.

use super::Holdings;
use super::listing::{LabelCollector, Labels};
use super::selection::Selection;
use crate::error::DataError;
use std::path::Path;

/// The mark that some programs write before UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Names of columns of labels; of several, the first.
pub(super) const LABEL_NAMES: [&str; 13] = [
    "label",
    "labels",
    "fine_label",
    "cls",
    "class",
    "target",
    "category",
    "class_name",
    "label_name",
    "class_id",
    "label_id",
    "targets",
    "y",
];

/// Names of columns of paths; of several, the first that holds some.
pub(super) const PATH_NAMES: [&str; 16] = [
    "path",
    "file_path",
    "filepath",
    "file",
    "file_name",
    "filename",
    "image_path",
    "img_path",
    "image_file",
    "image_name",
    "image",
    "img",
    "photo",
    "name",
    "url",
    "image_url",
];

/// Columns that a message lists at most.
const LISTED: usize = 20;

/// What stands behind `:labels=` for a data set whose labels are not to be used.
pub(super) const NO_LABELS: &str = "none";

/// Words in the name of a column whose images are not photos but maps of them.
const MASK_WORDS: [&str; 21] = [
    "alpha",
    "annot",
    "annotation",
    "depth",
    "depthmap",
    "disparity",
    "edge",
    "gt",
    "instance",
    "label",
    "mask",
    "matte",
    "normals",
    "panoptic",
    "seg",
    "segmap",
    "segmask",
    "segmentation",
    "semantic",
    "target",
    "trimap",
];

/// Whether a column of images is named as one of masks, depths or the like.
pub(super) fn is_mask(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphabetic());
    words.any(|word| {
        let one = word.strip_suffix('s').unwrap_or(word);
        MASK_WORDS.contains(&word) || MASK_WORDS.contains(&one)
    })
}

/// Names as a message lists them.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(LISTED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..LISTED].join(", ")),
    }
}

/// An error of a table.
pub(super) fn fault(path: &Path, problem: impl Into<String>, mend: impl Into<String>) -> DataError {
    DataError::Table { path: path.into(), problem: problem.into(), mend: mend.into() }
}

/// The error of a column that is asked for and is not there.
pub(super) fn no_such_column<'a>(
    path: &Path,
    name: &str,
    columns: impl IntoIterator<Item = &'a str>,
) -> DataError {
    let problem = format!("has no column `{name}`");
    fault(path, problem, format!("its columns are {}", listed(columns)))
}

/// Notes columns of labels that are there beside the one in use.
pub(super) fn note_other_labels(holdings: &mut Holdings, asked: &Selection, others: &[&str]) {
    if asked.labels.is_none() && !others.is_empty() {
        let others = listed(others.iter().copied());
        holdings.note(format!("other labels are in {others} (choose with `:labels=NAME`)"));
    }
}

/// Labels of the rows of a table, of which some may be missing.
#[derive(Default)]
pub(super) struct RowLabels {
    collector: LabelCollector,
    missing: Missing,
}

impl RowLabels {
    /// The label of the next row; `place` names the row.
    pub(super) fn push(&mut self, label: Option<&str>, place: impl FnOnce() -> String) {
        self.missing.count(label.is_none(), place);
        self.collector.push(label);
    }

    pub(super) fn finish(self, holdings: &mut Holdings) -> Labels {
        self.missing.note(holdings);
        self.collector.finish()
    }
}

/// How many rows have no label, and the first of them.
#[derive(Default)]
pub(super) struct Missing {
    rows: usize,
    missing: usize,
    first: String,
}

impl Missing {
    /// The next row.
    pub(super) fn count(&mut self, is_missing: bool, place: impl FnOnce() -> String) {
        self.rows += 1;
        if is_missing {
            if self.missing == 0 {
                self.first = place();
            }
            self.missing += 1;
        }
    }

    /// Says so, if any label is missing.
    pub(super) fn note(&self, holdings: &mut Holdings) {
        let Missing { rows, missing, first } = self;
        if *missing == 0 {
            return;
        }
        if missing == rows {
            return holdings.note("no row has a label");
        }
        holdings.unlabelled_told = true;
        let have = if *missing == 1 { "has" } else { "have" };
        holdings.note(format!("{missing} of {rows} rows {have} no label, such as {first}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_known_by_the_words_of_their_name() {
        for name in
            ["mask", "Image_Mask", "seg", "segmentation_map", "annotation", "depth.map", "gt"]
        {
            assert!(is_mask(name), "{name}");
        }
        for name in ["image", "photo", "unmasked", "length", "sega_screenshot", "product_image"] {
            assert!(!is_mask(name), "{name}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        let text = listed(names.iter().map(String::as_str));
        assert!(text.starts_with("`0`, `1`, ") && text.ends_with("`19` and 10 more"), "{text}");
    }
}
