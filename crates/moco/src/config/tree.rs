//! TOML trees: values by dotted names.

use super::ConfigError;
use toml::{Table, Value};

/// Written for a setting that is to be derived as if it had been left out.
pub(crate) const AUTO: &str = "auto";

/// Reads TOML.
///
/// # Errors
/// [`ConfigError::Syntax`], with the line.
pub(crate) fn table(text: &str) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        match line {
            Some(line) => ConfigError::syntax(&format!("line {line}: {}", error.message())),
            None => ConfigError::syntax(error.message()),
        }
    })
}

/// The dotted names of the settings that read `word`.
pub(crate) fn reading(tree: &Table, word: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, value) in tree {
        match value {
            Value::Table(section) => {
                let below = reading(section, word);
                paths.extend(below.into_iter().map(|path| format!("{name}.{path}")));
            }
            _ if value.as_str() == Some(word) => paths.push(name.clone()),
            _ => {}
        }
    }
    paths
}

/// The value at a dotted name.
pub(crate) fn get<'a>(tree: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => tree.get(path),
        Some((section, rest)) => get(tree.get(section)?.as_table()?, rest),
    }
}

/// Sections on the way are made; one that a plain value stands in the place of replaces it.
pub(crate) fn insert(tree: &mut Table, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        tree.insert(path.to_owned(), value);
        return;
    };
    let entry = tree.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    if let Some(table) = entry.as_table_mut() {
        insert(table, rest, value);
    }
}

/// Takes out the value at a dotted name, if there is one.
pub(crate) fn remove(tree: &mut Table, path: &str) {
    match path.split_once('.') {
        None => drop(tree.remove(path)),
        Some((section, rest)) => {
            if let Some(table) = tree.get_mut(section).and_then(Value::as_table_mut) {
                remove(table, rest);
            }
        }
    }
}
