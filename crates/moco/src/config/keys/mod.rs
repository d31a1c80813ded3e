//! Every key of a run's configuration: its name, its type and the values it may take.
//!
//! The structs in [`super`] say what a setting means; this table says what may be written for it.
//! A TOML tree is held against the table before it is deserialised, because only here is the
//! full dotted name at hand that a message needs. A test keeps table and structs in step.

mod table;

pub use table::{BACKBONES, METHODS};

use super::ConfigError;
use super::error::shown;
use super::suggest::nearest;
use table::KEYS;
use toml::{Table, Value};

/// One setting.
pub(super) struct Key {
    /// Dotted name, e.g. `train.batch_size`.
    pub path: &'static str,
    kind: Kind,
    when: When,
    /// Whether a complete configuration may leave it out.
    optional: bool,
}

/// What may be written for a setting.
enum Kind {
    /// A whole number within bounds, both included.
    Count(i64, i64),
    /// A number within bounds, both included.
    Real(f64, f64),
    /// A finite number above 0.
    Positive,
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of whole numbers, none negative.
    Counts,
    /// A list of numbers above 0.
    Reals,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// What a setting depends on.
pub(super) enum When {
    /// Every run has it.
    Always,
    /// One of these methods has it.
    Method(&'static [&'static str]),
    /// Backbones whose name begins so have it.
    Backbone(&'static str),
    /// One of these optimisers has it.
    Optimizer(&'static [&'static str]),
}

impl When {
    /// The setting that decides, and its value in `tree`.
    fn decided_by<'a>(&self, tree: &'a Table) -> Option<(&'static str, &'a str)> {
        let path = match self {
            When::Always => return None,
            When::Method(_) => "method.name",
            When::Backbone(_) => "model.backbone",
            When::Optimizer(_) => "optim.optimizer",
        };
        Some((path, get(tree, path)?.as_str()?))
    }

    /// Whether the setting has a meaning in `tree`; what is still open counts as yes.
    fn holds(&self, tree: &Table) -> bool {
        let Some((_, value)) = self.decided_by(tree) else { return true };
        match self {
            When::Always => true,
            When::Method(names) | When::Optimizer(names) => names.contains(&value),
            When::Backbone(family) => value.starts_with(family),
        }
    }
}

/// Looks a setting up by its dotted name.
///
/// # Errors
/// [`ConfigError::UnknownKey`], with the nearest name there is.
pub(super) fn find(path: &str) -> Result<&'static Key, ConfigError> {
    KEYS.iter().find(|key| key.path == path).ok_or_else(|| ConfigError::UnknownKey {
        key: shown(path),
        nearest: nearest_key(path).map(str::to_owned),
    })
}

/// Refuses unknown keys, wrong types and values out of range anywhere in `tree`, which may be
/// incomplete.
pub(super) fn check(tree: &Table) -> Result<(), ConfigError> {
    check_table(tree, "")?;
    let stray = |key: &&Key| !key.when.holds(tree) && get(tree, key.path).is_some();
    match KEYS.iter().find(stray) {
        Some(key) => Err(key.stray(tree)),
        None => Ok(()),
    }
}

/// Takes out of `tree` what has no meaning beside its method, backbone and optimiser.
pub(super) fn drop_stray(tree: &mut Table) {
    for key in
        KEYS.iter().filter(|key| !key.when.holds(tree)).map(|key| key.path).collect::<Vec<_>>()
    {
        super::parse::remove(tree, key);
    }
}

/// As [`check`], and refuses a tree that lacks a setting.
pub(super) fn check_complete(tree: &Table) -> Result<(), ConfigError> {
    check(tree)?;
    let lacks = |key: &&Key| !key.optional && key.when.holds(tree) && get(tree, key.path).is_none();
    match KEYS.iter().find(lacks) {
        Some(key) => Err(ConfigError::Missing { key: key.path.to_owned() }),
        None => Ok(()),
    }
}

/// The value at a dotted name.
pub(super) fn get<'a>(tree: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => tree.get(path),
        Some((section, rest)) => get(tree.get(section)?.as_table()?, rest),
    }
}

/// Whether a dotted name is a section that holds settings.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The dotted names of all settings.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.path)
}

fn check_table(table: &Table, prefix: &str) -> Result<(), ConfigError> {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if is_section(&path) {
            let section = value.as_table().ok_or_else(|| {
                let what = format!("a section, written [{path}] with its settings below");
                ConfigError::wrong_type(&path, value, what)
            })?;
            check_table(section, &path)?;
        } else {
            find(&path)?.check(value)?;
        }
    }
    Ok(())
}

/// A key with the same last part wins over one that is merely spelled alike, so that `lr` and
/// `train.lr` both lead to `optim.lr`.
fn nearest_key(path: &str) -> Option<&'static str> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let same_name = KEYS.iter().find(|key| key.path.rsplit('.').next() == Some(last));
    if let Some(key) = same_name {
        return Some(key.path);
    }
    if path.contains('.') {
        return nearest(path, KEYS.iter().map(|key| key.path));
    }
    let (_, key) = KEYS
        .iter()
        .filter_map(|key| {
            let name = key.path.rsplit('.').next()?;
            nearest(path, [name]).map(|name| (strsim::damerau_levenshtein(path, name), key))
        })
        .min_by_key(|(distance, _)| *distance)?;
    Some(key.path)
}

impl Key {
    /// The error for a setting that has no meaning in `tree`: it lists those that have.
    fn stray(&self, tree: &Table) -> ConfigError {
        let (by, value) = self.when.decided_by(tree).unwrap_or(("", ""));
        let section = self.path.split_once('.').map_or("", |(section, _)| section);
        let of_section =
            |key: &&Key| key.path.starts_with(section) && !matches!(key.when, When::Always);
        let known: Vec<_> =
            KEYS.iter().filter(of_section).filter(|key| key.when.holds(tree)).collect();
        let known: Vec<_> = known.iter().map(|key| key.path).collect();
        ConfigError::Stray {
            key: self.path.to_owned(),
            owner: format!("{by} = {value}"),
            nearest: nearest(self.path, known.iter().copied()).map(str::to_owned),
            known: known.iter().map(|&key| key.to_owned()).collect(),
        }
    }

    /// Refuses a value of the wrong type or out of range.
    fn check(&self, value: &Value) -> Result<(), ConfigError> {
        let out_of_range = |must: String| ConfigError::out_of_range(self.path, value, must);
        let wrong_type = |expected: &str| ConfigError::wrong_type(self.path, value, expected);
        match (&self.kind, value) {
            (Kind::Count(low, high), Value::Integer(n)) => match n {
                n if n < low => Err(out_of_range(format!("at least {low}"))),
                n if n > high => Err(out_of_range(format!("at most {high}"))),
                _ => Ok(()),
            },
            (Kind::Count(..), _) => Err(wrong_type("a whole number")),
            (Kind::Real(low, high), _) => match number(value) {
                None => Err(wrong_type("a number")),
                Some(x) if (*low..=*high).contains(&x) => Ok(()),
                Some(_) if *high == f64::MAX => Err(out_of_range(format!("at least {low}"))),
                Some(_) => Err(out_of_range(format!("between {low} and {high}"))),
            },
            (Kind::Positive, _) => match number(value) {
                None => Err(wrong_type("a number")),
                Some(x) if x > 0.0 && x.is_finite() => Ok(()),
                Some(_) => Err(out_of_range("above 0".to_owned())),
            },
            (Kind::Flag, Value::Boolean(_)) | (Kind::Text, Value::String(_)) => Ok(()),
            (Kind::Flag, _) => Err(wrong_type("true or false")),
            (Kind::Text, _) => Err(wrong_type("a text")),
            (Kind::Texts, Value::Array(all)) if all.iter().all(Value::is_str) => Ok(()),
            (Kind::Texts, _) => Err(wrong_type("a list of texts")),
            (Kind::Counts, Value::Array(all)) if all.iter().all(is_count) => Ok(()),
            (Kind::Counts, _) => Err(wrong_type("a list of whole numbers")),
            (Kind::Reals, Value::Array(all))
                if all.iter().all(|value| number(value).is_some_and(|x| x > 0.0)) =>
            {
                Ok(())
            }
            (Kind::Reals, _) => Err(wrong_type("a list of numbers above 0")),
            (Kind::OneOf(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (Kind::OneOf(words), Value::String(word)) => {
                Err(ConfigError::unknown_name(self.path, word, words))
            }
            (Kind::OneOf(words), _) => Err(wrong_type(&format!("one of {}", words.join(", ")))),
        }
    }

    /// Whether text is what this setting holds, so that `--set` may go without quotes.
    pub(super) fn holds_text(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::OneOf(_))
    }

    /// Whether `word` is one of those that this setting is chosen from.
    pub(super) fn has_word(&self, word: &str) -> bool {
        matches!(self.kind, Kind::OneOf(words) if words.contains(&word))
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

fn is_count(value: &Value) -> bool {
    value.as_integer().is_some_and(|n| n >= 0)
}
