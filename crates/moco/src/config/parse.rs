//! From TOML to a configuration, and back.
//!
//! Between the text and a [`RunConfig`] stands a TOML tree, which may be incomplete: recipes,
//! flags and `--set` are laid over one another there, and [`super::resolve`] fills the gaps.

use super::error::shown;
use super::{ConfigError, RunConfig, keys};
use std::path::Path;
use toml::{Table, Value};

/// Written for a setting that is to be derived as if it had been left out.
const AUTO: &str = "auto";

/// Reads a complete configuration, such as the `config.toml` of a run.
///
/// # Errors
/// What [`ConfigError`] lists; a missing key as well.
pub fn parse_run(text: &str) -> Result<RunConfig, ConfigError> {
    run_from_tree(table(text)?)
}

/// Reads a possibly incomplete configuration, such as a recipe. A setting that reads `"auto"`
/// counts as left out.
///
/// # Errors
/// What [`ConfigError`] lists, but for missing keys.
pub fn parse_tree(text: &str) -> Result<Table, ConfigError> {
    let mut tree = table(text)?;
    drop_auto(&mut tree, "");
    keys::check(&tree)?;
    Ok(tree)
}

/// As [`parse_tree`], from a file.
///
/// # Errors
/// As [`parse_tree`], and a file that cannot be read; both name the file.
pub fn read_tree(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_tree(&text)
        .map_err(|source| ConfigError::InFile { path: path.to_owned(), source: source.into() })
}

/// Applies an override such as `optim.lr=0.03` to `tree`. The value is TOML; a text may go
/// without its quotes, and `auto` has the setting derived anew.
///
/// # Errors
/// No `=`, an unknown key, a wrong type, a value out of range.
pub fn set_value(tree: &mut Table, assignment: &str) -> Result<(), ConfigError> {
    let (path, text) =
        assignment.split_once('=').ok_or_else(|| ConfigError::Override(shown(assignment)))?;
    let (path, text) = (path.trim(), text.trim());
    if text == AUTO && !keys::find(path)?.has_word(AUTO) {
        remove(tree, path);
        return Ok(());
    }
    let as_typed = || Value::String(text.to_owned());
    let value = match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or_else(as_typed),
        _ => as_typed(),
    };
    let text_expected = !keys::is_section(path) && keys::find(path)?.holds_text();
    let value = if text_expected && !value.is_str() { as_typed() } else { value };
    set(tree, path, value)
}

/// Sets the value at a dotted name, whatever was there.
///
/// # Errors
/// An unknown key, a wrong type, a value out of range, or a method other than the tree's own,
/// whose settings would be left without a meaning.
pub fn set(tree: &mut Table, path: &str, value: Value) -> Result<(), ConfigError> {
    if path == "method.name"
        && let Some(present) = keys::get(tree, path)
        && *present != value
    {
        return Err(ConfigError::Invalid(format!(
            "the recipe is for method {present}, not {}: choose a recipe of that method, or \
             leave the recipe out",
            shown(&value.to_string())
        )));
    }
    let mut change = Table::new();
    insert(&mut change, path, value.clone());
    keys::check(&change)?;
    if path == "optim.schedule.kind" && keys::get(tree, path) != Some(&value) {
        remove(tree, "optim.schedule");
    }
    insert(tree, path, value);
    if ["model.backbone", "optim.optimizer"].contains(&path) {
        keys::drop_stray(tree);
    }
    Ok(())
}

/// Turns a complete tree into a configuration and checks it as a whole.
pub(super) fn run_from_tree(tree: Table) -> Result<RunConfig, ConfigError> {
    keys::check_complete(&tree)?;
    let config: RunConfig =
        tree.try_into().map_err(|error: toml::de::Error| syntax(error.message()))?;
    config.validate()?;
    Ok(config)
}

impl RunConfig {
    /// The configuration as TOML, readable by [`parse_run`].
    ///
    /// # Errors
    /// A path that is not UTF-8, or a number above 2^63 - 1: TOML has neither.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| ConfigError::Invalid(error.to_string()))
    }
}

fn table(text: &str) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        match line {
            Some(line) => syntax(&format!("line {line}: {}", error.message())),
            None => syntax(error.message()),
        }
    })
}

/// Messages of the TOML reader may have several lines; ours have one.
fn syntax(message: &str) -> ConfigError {
    ConfigError::Syntax(message.lines().collect::<Vec<_>>().join(", "))
}

/// Removes what reads `"auto"`, in the section `above`, but for settings of which it is a value.
fn drop_auto(tree: &mut Table, above: &str) {
    let path = |key: &str| if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
    let is_value = |key: &str| keys::find(&path(key)).is_ok_and(|key| key.has_word(AUTO));
    tree.retain(|key, value| value.as_str() != Some(AUTO) || is_value(key));
    for (key, value) in tree.iter_mut() {
        if let Some(section) = value.as_table_mut() {
            drop_auto(section, &path(key));
        }
    }
}

/// Sections on the way are made; one that a plain value stands in the place of replaces it.
pub(super) fn insert(tree: &mut Table, path: &str, value: Value) {
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

pub(super) fn remove(tree: &mut Table, path: &str) {
    match path.split_once('.') {
        None => drop(tree.remove(path)),
        Some((section, rest)) => {
            if let Some(table) = tree.get_mut(section).and_then(Value::as_table_mut) {
                remove(table, rest);
            }
        }
    }
}
