//! JSON, an object a line, as the `metadata.jsonl` of Hugging Face's image folders.

use super::{Files, Input, Label, Rows};
use crate::error::DataError;
use crate::source::listing::Listing;
use crate::source::selection::Selection;
use crate::source::table::{self, BYTE_ORDER_MARK, LABEL_NAMES, NO_LABELS, PATH_NAMES};
use serde_json::{Map, Value};
use std::path::Path;

/// The fields that are read, once known.
#[derive(Default)]
struct Fields {
    path: Option<String>,
    label: Option<String>,
}

pub(super) fn read(
    path: &Path,
    mut input: Input,
    mut rows: Rows,
    asked: &Selection,
) -> Result<(Listing, Files), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let wants_labels = asked.labels.as_deref() != Some(NO_LABELS);
    let mut fields =
        Fields { path: asked.column.clone(), label: asked.labels.clone().filter(|_| wants_labels) };
    let (mut line, mut number) = (Vec::new(), 0);
    while input.line(&mut line).map_err(unreadable)? {
        number += 1;
        let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let object: Map<String, Value> = serde_json::from_slice(text).map_err(|_| {
            let problem = format!("holds no JSON object in line {number}");
            table::fault(path, problem, "write one object a line")
        })?;
        fields.find(path, &object, wants_labels, rows.is_empty())?;
        let name = match fields.path.as_ref().and_then(|name| object.get(name)) {
            Some(Value::String(name)) => name.as_str(),
            Some(Value::Null) | None => "",
            Some(_) => {
                let problem = format!("holds a path that is not text in line {number}");
                return Err(table::fault(path, problem, "write it in double quotes"));
            }
        };
        let label = fields.label.as_ref().and_then(|name| object.get(name));
        let text = label.map(text_of).unwrap_or_default();
        let label = match label {
            Some(Value::Array(_) | Value::Object(_)) => Label::Several,
            None | Some(Value::Null) => Label::Missing,
            Some(_) => Label::One(text.as_bytes()),
        };
        rows.push(name.as_bytes(), &label, number);
    }
    let chosen = format!(
        "list, paths in `{}`, {}",
        fields.path.unwrap_or_default(),
        fields.label.as_ref().map_or("no labels".into(), |name| format!("labels in `{name}`"))
    );
    rows.finish(input.hash.0, chosen, fields.label.is_some())
}

impl Fields {
    /// Finds what is not known yet among the fields of an object.
    fn find(
        &mut self,
        path: &Path,
        object: &Map<String, Value>,
        wants_labels: bool,
        is_first: bool,
    ) -> Result<(), DataError> {
        let known = |names: &[&str]| {
            names.iter().find(|name| object.contains_key(**name)).map(|name| name.to_string())
        };
        let names = || object.keys().map(String::as_str);
        match &self.path {
            Some(name) if is_first && !object.contains_key(name) => {
                return Err(table::no_such_column(path, name, names()));
            }
            Some(_) => {}
            None => self.path = known(&PATH_NAMES),
        }
        if self.path.is_none() {
            let problem = format!("has no field of paths among {}", table::listed(names()));
            return Err(table::fault(path, problem, "choose one with `:column=NAME`"));
        }
        if wants_labels && self.label.is_none() {
            self.label = known(&LABEL_NAMES).filter(|name| Some(name) != self.path.as_ref());
        }
        Ok(())
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().into(),
        other => other.to_string(),
    }
}
