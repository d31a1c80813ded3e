//! From TOML to a plan.
//!
//! Between the text and a [`Plan`] stands a TOML tree, which may be incomplete: recipes, flags and
//! `--set` are laid over one another there, and [`super::resolve`] fills the gaps.

use super::Plan;
use super::keys::{self, Keys, METHOD};
use crate::config::tree::{AUTO, get, insert, reading, remove, table};
use crate::config::{ConfigError, shown};
use std::path::Path;
use toml::{Table, Value};

/// Reads a complete configuration, such as the `config.toml` of a run.
///
/// # Errors
/// What [`ConfigError`] lists; a missing key as well.
pub fn parse_run(text: &str) -> Result<Plan, ConfigError> {
    Plan::from_tree(table(text)?)
}

/// Reads a possibly incomplete configuration, such as a recipe. A setting that reads `"auto"`
/// counts as left out.
///
/// # Errors
/// What [`ConfigError`] lists, but for missing keys.
pub fn parse_tree(text: &str) -> Result<Table, ConfigError> {
    let mut tree = table(text)?;
    drop_derived(&mut tree);
    Keys::of(&tree).check()?;
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
    if text == AUTO && !Keys::of(tree).find(path)?.has_word(AUTO) {
        remove(tree, path);
        return Ok(());
    }
    let as_typed = || Value::String(text.to_owned());
    let value = match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or_else(as_typed),
        _ => as_typed(),
    };
    let text_expected = !keys::is_section(path) && Keys::of(tree).find(path)?.holds_text();
    let value = if text_expected && !value.is_str() { as_typed() } else { value };
    set(tree, path, value)
}

/// Sets the value at a dotted name, whatever was there.
///
/// # Errors
/// An unknown key, a wrong type, a value out of range, or a method other than the tree's own,
/// whose settings would be left without a meaning.
pub fn set(tree: &mut Table, path: &str, value: Value) -> Result<(), ConfigError> {
    if path == METHOD
        && let Some(present) = get(tree, path)
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
    Keys::of(tree).check_values(&change)?;
    if path == "optim.schedule.kind" && get(tree, path) != Some(&value) {
        remove(tree, "optim.schedule");
    }
    insert(tree, path, value);
    if ["model.backbone", "optim.optimizer"].contains(&path) {
        keys::drop_stray(tree);
    }
    Ok(())
}

/// Takes out what reads `"auto"`, but for settings of which it is a value.
fn drop_derived(tree: &mut Table) {
    let derived = |path: &String| !Keys::of(tree).find(path).is_ok_and(|key| key.has_word(AUTO));
    let paths: Vec<String> = reading(tree, AUTO).into_iter().filter(derived).collect();
    paths.iter().for_each(|path| remove(tree, path));
}
