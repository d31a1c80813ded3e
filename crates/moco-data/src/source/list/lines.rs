//! Plain lists: a path a line, and maybe a label behind a tab or space.

use super::{Files, Input, Label, Rows, csv_table, looks_like_path, looks_right};
use crate::error::DataError;
use crate::source::listing::{self, Listing};
use crate::source::selection::Selection;
use crate::source::table::{self, BYTE_ORDER_MARK, NO_LABELS, PATH_NAMES};
use std::path::Path;

/// Whether a plain list is a table after all: by its head, by commas or semicolons around paths,
/// or because one of its columns is asked for.
pub(super) fn are_a_table(path: &Path, start: &[u8], asked: &Selection) -> bool {
    let lines = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start).split(|&byte| byte == b'\n');
    let mut lines = lines.map(trimmed).filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let Some(first) = lines.next() else { return false };
    let names_column =
        asked.column.is_some() || asked.labels.as_ref().is_some_and(|name| name != NO_LABELS);
    if names_column {
        return true;
    }
    let text = String::from_utf8_lossy(first);
    let fields: Vec<&str> = text.split(['\t', ',', ';']).map(str::trim).collect();
    let is_head = |field: &&str| PATH_NAMES.iter().any(|name| field.eq_ignore_ascii_case(name));
    let (name, _) = split(first);
    let is_plain = looks_like_path(path, &String::from_utf8_lossy(name));
    fields.len() > 1
        && (fields.iter().any(is_head)
            || (!is_plain && fields.iter().any(|f| listing::is_image(f))))
}

pub(super) fn read(
    path: &Path,
    mut input: Input,
    mut rows: Rows,
    asked: &Selection,
) -> Result<(Listing, Files), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let (mut line, mut number, mut labelled) = (Vec::new(), 0, false);
    while input.line(&mut line).map_err(unreadable)? {
        number += 1;
        let text =
            trimmed(line.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(&line));
        let (name, label) = split(text);
        let is_head = PATH_NAMES.iter().any(|head| name.eq_ignore_ascii_case(head.as_bytes()));
        if name.is_empty() || name.starts_with(b"#") || (rows.is_empty() && is_head) {
            continue;
        }
        if rows.is_empty() && !looks_right(path, &String::from_utf8_lossy(name)) {
            return Err(DataError::NotADataset { path: path.into() });
        }
        if label.contains(&b'\t') {
            let problem = format!("has more than a path and a label in line {number}");
            return Err(table::fault(path, problem, csv_table::HEADS_MEND));
        }
        labelled |= !label.is_empty();
        let label = if are_several(label) { Label::Several } else { Label::One(label) };
        rows.push(name, &label, number);
    }
    let has_labels = labelled && asked.labels.is_none();
    let chosen = if has_labels { "list of paths and labels" } else { "list of paths, no labels" };
    rows.finish(input.hash.0, chosen.into(), has_labels)
}

/// Path and label of a line; the label is empty if there is none.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(tab) = line.iter().position(|&byte| byte == b'\t') {
        return (line[..tab].trim_ascii(), line[tab + 1..].trim_ascii());
    }
    let is_image = |name: &[u8]| listing::is_image(&String::from_utf8_lossy(name));
    if !is_image(line) {
        let spaces = line.iter().enumerate().filter(|(_, byte)| **byte == b' ');
        for (at, _) in spaces {
            if is_image(&line[..at]) {
                return (&line[..at], line[at..].trim_ascii());
            }
        }
    }
    (line, b"")
}

/// Whether a label is several numbers, such as the attributes of CelebA.
fn are_several(label: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(label) else { return false };
    text.contains(' ') && text.split_ascii_whitespace().all(|word| word.parse::<f64>().is_ok())
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_tabs_and_the_space_behind_an_image() {
        let split = |line: &'static str| {
            let (path, label) = super::split(line.as_bytes());
            (std::str::from_utf8(path).unwrap(), std::str::from_utf8(label).unwrap())
        };
        assert_eq!(split("a b.jpg"), ("a b.jpg", ""));
        assert_eq!(split("a b.jpg\tred cat"), ("a b.jpg", "red cat"));
        assert_eq!(split("a 1.jpg 12"), ("a 1.jpg", "12"));
        assert_eq!(split("a 1.jpg  red cat"), ("a 1.jpg", "red cat"));
        assert_eq!(split("IMG 12"), ("IMG 12", ""));
        assert_eq!(split("a.jpg\t"), ("a.jpg", ""));
    }

    #[test]
    fn several_numbers_are_several_labels() {
        assert!(are_several(b"0 1 -1") && !are_several(b"red 1") && !are_several(b"12"));
    }
}
