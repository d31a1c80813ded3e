//! Tables of text: which of their columns hold paths and labels.

use super::records::Records;
use super::{Files, Input, Label, Rows, looks_like_path};
use crate::error::DataError;
use crate::source::Holdings;
use crate::source::listing::Listing;
use crate::source::selection::Selection;
use crate::source::table::{self, LABEL_NAMES, NO_LABELS, PATH_NAMES};
use csv::ByteRecord;
use std::path::Path;

pub(super) const HEADS_MEND: &str =
    "give the columns heads in the first line, such as `path` and `label`";

/// Which columns are read.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// Heads of the columns, if they have any.
    heads: Option<Vec<String>>,
    /// Number of columns.
    width: usize,
    path: usize,
    label: Option<usize>,
}

pub(super) fn read(
    path: &Path,
    input: Input,
    start: &[u8],
    mut rows: Rows,
    asked: &Selection,
) -> Result<(Listing, Files), DataError> {
    let mut records = Records::new(path, input, start, asked);
    let (first, second) = (records.next()?, records.next()?);
    let Some((_, first_row)) = &first else {
        return rows.finish(records.hash(), "list".into(), false);
    };
    let sample = second.as_ref().map(|(_, record)| record);
    let layout = Layout::of(path, first_row, sample, asked, &mut rows.listing.holdings)?;
    let head = layout.heads.is_some();
    let mut begun = [first.filter(|_| !head), second].into_iter().flatten();
    while let Some((line, record)) = begun.next().map_or_else(|| records.next(), |r| Ok(Some(r)))? {
        if let Err(error) = layout.push(path, &record, line, &mut rows) {
            // A quote without its end makes a row look wrong that is not.
            records.next()?;
            return Err(error);
        }
        records.give_back(record);
    }
    rows.finish(records.hash(), layout.chosen(), layout.label.is_some())
}

pub(super) fn texts(record: &ByteRecord) -> Vec<String> {
    record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
}

/// Whether a field of the first line is the head of a column.
pub(super) fn is_head(field: &str, asked: &Selection) -> bool {
    let is_asked = |name: &Option<String>| name.as_ref().is_some_and(|name| name == field);
    PATH_NAMES.iter().any(|name| name.eq_ignore_ascii_case(field))
        || is_asked(&asked.column)
        || is_asked(&asked.labels)
}

impl Layout {
    /// The layout that the first two records tell.
    fn of(
        path: &Path,
        first: &ByteRecord,
        second: Option<&ByteRecord>,
        asked: &Selection,
        holdings: &mut Holdings,
    ) -> Result<Layout, DataError> {
        let fields: Vec<String> = texts(first).iter().map(|field| field.trim().into()).collect();
        let sample = second.map(texts);
        let is_path = |field: &String| looks_like_path(path, field);
        // A class may be called `photo`; a path stands in no head.
        let has_head = !fields.iter().any(|field| is_path(field) && !is_head(field, asked));
        let mut layout = Layout {
            width: fields.len(),
            heads: has_head.then(|| fields.clone()),
            path: 0,
            label: None,
        };
        let values = if has_head { sample.unwrap_or_default() } else { fields };
        layout.path = match &asked.column {
            Some(name) => layout.asked_column(path, name)?,
            None => layout.guessed_path(&values, is_path).ok_or_else(|| layout.no_paths(path))?,
        };
        layout.label = match &asked.labels {
            Some(name) if name == NO_LABELS && layout.head(name).is_none() => None,
            Some(name) => Some(layout.asked_column(path, name)?),
            None => layout.guessed_label(asked, holdings),
        };
        Ok(layout)
    }

    /// The column of a head.
    fn head(&self, name: &str) -> Option<usize> {
        let heads = self.heads.as_ref()?;
        let exact = heads.iter().position(|head| head == name);
        exact.or_else(|| heads.iter().position(|head| head.eq_ignore_ascii_case(name)))
    }

    /// A column by its head, or by its number from 1.
    fn asked_column(&self, path: &Path, name: &str) -> Result<usize, DataError> {
        let by_number = || {
            let number: usize = name.parse().ok()?;
            (1..=self.width).contains(&number).then(|| number - 1)
        };
        self.head(name).or_else(by_number).ok_or_else(|| match &self.heads {
            Some(heads) => table::no_such_column(path, name, heads.iter().map(String::as_str)),
            None => {
                let problem = format!("has no column `{name}`");
                let mend = format!("its columns have no heads but numbers, 1 to {}", self.width);
                table::fault(path, problem, mend)
            }
        })
    }

    /// The first column that holds paths, among those with a known head or else among all.
    fn guessed_path(&self, values: &[String], is_path: impl Fn(&String) -> bool) -> Option<usize> {
        let known: Vec<usize> = PATH_NAMES.iter().filter_map(|name| self.head(name)).collect();
        let holds_paths = |column: &usize| values.get(*column).is_some_and(&is_path);
        let by_head = known.iter().copied().find(holds_paths).or(known.first().copied());
        by_head.or_else(|| (0..self.width).find(holds_paths))
    }

    fn no_paths(&self, path: &Path) -> DataError {
        let heads = self.heads.iter().flatten().map(String::as_str);
        let problem = format!("has no column of paths among {}", table::listed(heads));
        table::fault(path, problem, "choose one with `:column=NAME`")
    }

    /// The first column with a known head; of two columns without heads, the other.
    fn guessed_label(&self, asked: &Selection, holdings: &mut Holdings) -> Option<usize> {
        let Some(heads) = &self.heads else {
            if self.width > 2 {
                holdings.note(format!(
                    "of {} columns, none is known as that of labels (choose with `:labels=NUMBER`)",
                    self.width
                ));
            }
            return (self.width == 2).then(|| 1 - self.path);
        };
        let found = LABEL_NAMES.iter().filter_map(|name| self.head(name));
        let found: Vec<usize> = found.filter(|&column| column != self.path).collect();
        if let Some((&first, others)) = found.split_first() {
            let others: Vec<&str> = others.iter().map(|&column| &*heads[column]).collect();
            table::note_other_labels(holdings, asked, &others);
            return Some(first);
        }
        let is_other = |(column, head): &(usize, &String)| {
            *column != self.path && !head.is_empty() && !head.starts_with("Unnamed:")
        };
        let others: Vec<&str> =
            heads.iter().enumerate().filter(is_other).map(|(_, head)| &**head).collect();
        if !others.is_empty() {
            let note = format!("not read: columns {}", table::listed(others));
            holdings.note(format!("{note} (if one holds labels, choose it with `:labels=NAME`)"));
        }
        None
    }

    fn push(
        &self,
        path: &Path,
        record: &ByteRecord,
        line: u64,
        rows: &mut Rows,
    ) -> Result<(), DataError> {
        let beyond = record.iter().skip(self.width).any(|field| !field.is_empty());
        if record.len() < self.width || beyond {
            let (count, width) = (record.len(), self.width);
            let problem =
                format!("has {count} fields in line {line} where the first line has {width}");
            let mend = "put double quotes around a field that holds a separator";
            return Err(table::fault(path, problem, mend));
        }
        let label = self.label.and_then(|column| record.get(column)).unwrap_or_default();
        let label = Label::One(label.trim_ascii());
        rows.push(record.get(self.path).unwrap_or_default(), &label, line);
        Ok(())
    }

    fn chosen(&self) -> String {
        let column = |column: usize| match &self.heads {
            Some(heads) if !heads[column].is_empty() => format!("column `{}`", heads[column]),
            _ => format!("column {}", column + 1),
        };
        let labels =
            self.label.map_or("no labels".into(), |at| format!("labels in {}", column(at)));
        format!("list, paths in {}, {labels}", column(self.path))
    }
}
