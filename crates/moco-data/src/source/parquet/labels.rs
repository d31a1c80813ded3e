//! Labels of the rows, as they are in the file, and the classes they make.

use super::File;
use super::columns::{self, Label};
use super::schema::Kind;
use crate::source::Holdings;
use crate::source::listing::{Labels, NO_LABEL};
use crate::source::table::{Missing, RowLabels};
use ::parquet::column::reader::ColumnReader;
use ::parquet::errors::ParquetError;

/// What stands for a label that is withheld, as in the test sets of Hugging Face.
const WITHHELD: i64 = -1;

/// Labels of all rows so far.
#[derive(Default)]
pub(super) struct LabelValues {
    rows: Rows,
    /// Whether there is a number with a fraction.
    pub has_fractions: bool,
}

enum Rows {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::Numbers(Vec::new())
    }
}

impl Rows {
    fn into_texts(self) -> Vec<Option<String>> {
        match self {
            Rows::Texts(texts) => texts,
            Rows::Numbers(numbers) => {
                numbers.into_iter().map(|number| number.map(|n| n.to_string())).collect()
            }
        }
    }

    fn extend(&mut self, more: Rows) {
        match (&mut *self, more) {
            (Rows::Numbers(all), Rows::Numbers(more)) => all.extend(more),
            (Rows::Texts(all), more) => all.extend(more.into_texts()),
            (Rows::Numbers(_), more) => {
                let mut texts = std::mem::take(self).into_texts();
                texts.extend(more.into_texts());
                *self = Rows::Texts(texts);
            }
        }
    }

    /// The rows at `kept`.
    fn select(self, kept: Option<&[u32]>) -> Rows {
        fn pick<T>(mut all: Vec<Option<T>>, kept: &[u32]) -> Vec<Option<T>> {
            kept.iter().map(|&row| all.get_mut(row as usize).and_then(Option::take)).collect()
        }
        match (kept, self) {
            (None, rows) => rows,
            (Some(kept), Rows::Numbers(numbers)) => Rows::Numbers(pick(numbers, kept)),
            (Some(kept), Rows::Texts(texts)) => Rows::Texts(pick(texts, kept)),
        }
    }
}

impl LabelValues {
    /// Adds the labels of a row group's kept rows.
    pub(super) fn read(
        &mut self,
        file: &File,
        group: usize,
        kept: Option<&[u32]>,
    ) -> Result<(), ParquetError> {
        let Some(Label { leaf, kind, .. }) = &file.columns.label else { return Ok(()) };
        let signed = !matches!(kind, Kind::Integers { signed: false, .. });
        let rows = match columns::reader(file, group, *leaf)? {
            ColumnReader::Int32ColumnReader(reader) => {
                let wide = |value| if signed { i64::from(value) } else { i64::from(value as u32) };
                let values = columns::values(reader, file, group, *leaf)?;
                Rows::Numbers(values.into_iter().map(|value| value.map(wide)).collect())
            }
            ColumnReader::Int64ColumnReader(reader) => {
                let values = columns::values(reader, file, group, *leaf)?;
                if signed || values.iter().flatten().all(|&value| value >= 0) {
                    Rows::Numbers(values)
                } else {
                    let text = |value| (value as u64).to_string();
                    Rows::Texts(values.into_iter().map(|value| value.map(text)).collect())
                }
            }
            ColumnReader::BoolColumnReader(reader) => {
                let values = columns::values(reader, file, group, *leaf)?;
                Rows::Texts(values.into_iter().map(|v| v.map(|v| v.to_string())).collect())
            }
            ColumnReader::FloatColumnReader(reader) => {
                let values = columns::values(reader, file, group, *leaf)?;
                self.floats(
                    values.into_iter().map(|value| value.map(|v| (v.into(), v.to_string()))),
                )
            }
            ColumnReader::DoubleColumnReader(reader) => {
                let values = columns::values(reader, file, group, *leaf)?;
                self.floats(values.into_iter().map(|value| value.map(|v| (v, v.to_string()))))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                let texts = columns::texts(reader, file, group, *leaf)?;
                Rows::Texts(texts.into_iter().map(|t| t.filter(|t| !t.is_empty())).collect())
            }
            _ => Rows::Numbers(vec![None; file.rows(group)]),
        };
        self.rows.extend(rows.select(kept));
        Ok(())
    }

    /// Whole numbers as such, as pandas writes them as floats where some are missing; NaN is a
    /// missing one.
    fn floats(&mut self, values: impl Iterator<Item = Option<(f64, String)>>) -> Rows {
        let values: Vec<_> = values.map(|value| value.filter(|(v, _)| !v.is_nan())).collect();
        let whole = |(v, _): &(f64, String)| v.fract() == 0.0 && v.abs() < 2f64.powi(53);
        if values.iter().flatten().all(whole) {
            return Rows::Numbers(values.into_iter().map(|v| v.map(|(v, _)| v as i64)).collect());
        }
        self.has_fractions = true;
        Rows::Texts(values.into_iter().map(|value| value.map(|(_, text)| text)).collect())
    }

    /// Classes of the names that the file gives, or named after the values; `place` names an image.
    pub(super) fn into_labels(
        self,
        class_names: Option<Vec<String>>,
        place: impl Fn(usize) -> String,
        holdings: &mut Holdings,
    ) -> Labels {
        match (class_names, self.rows) {
            (Some(names), Rows::Numbers(numbers)) => {
                known_classes(&numbers, names, place, holdings)
            }
            (_, Rows::Numbers(mut numbers)) => {
                if has_withheld(&numbers) {
                    let known = |number: Option<i64>| number.filter(|&n| n != WITHHELD);
                    numbers.iter_mut().for_each(|number| *number = known(*number));
                }
                collect(Rows::Numbers(numbers), place, holdings)
            }
            (_, rows) => collect(rows, place, holdings),
        }
    }
}

fn collect(rows: Rows, place: impl Fn(usize) -> String, holdings: &mut Holdings) -> Labels {
    let mut labels = RowLabels::default();
    for (i, text) in rows.into_texts().iter().enumerate() {
        labels.push(text.as_deref(), || place(i));
    }
    labels.finish(holdings)
}

/// Whether -1 means that there is no label: beside classes from 0 on, but not beside 1 alone.
fn has_withheld(numbers: &[Option<i64>]) -> bool {
    let known = || numbers.iter().flatten().filter(|&&number| number != WITHHELD);
    let signs = known().next().is_some() && known().all(|&number| number == 1);
    numbers.contains(&Some(WITHHELD)) && known().all(|&number| number >= 0) && !signs
}

/// Labels that index the names of the file.
fn known_classes(
    numbers: &[Option<i64>],
    names: Vec<String>,
    place: impl Fn(usize) -> String,
    holdings: &mut Holdings,
) -> Labels {
    let label = |number: &Option<i64>| {
        let label = u32::try_from((*number)?).ok()?;
        ((label as usize) < names.len()).then_some(label)
    };
    let mut missing = Missing::default();
    let mut labels = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        let label = label(number);
        missing.count(label.is_none(), || place(i));
        labels.push(label.unwrap_or(NO_LABEL));
    }
    missing.note(holdings);
    match labels.iter().all(|&label| label == NO_LABEL) {
        true => Labels::Absent,
        false => Labels::Given(labels, names),
    }
}

#[cfg(test)]
mod tests {
    use super::has_withheld;

    #[test]
    fn minus_one_beside_classes_is_no_class() {
        let some =
            |numbers: &[i64]| has_withheld(&numbers.iter().map(|&n| Some(n)).collect::<Vec<_>>());
        assert!(some(&[-1, 0, 1]) && some(&[-1, -1]) && some(&[2, -1]));
        assert!(!some(&[-1, 1, 1]) && !some(&[0, 1]) && !some(&[-1, -2]));
    }
}
