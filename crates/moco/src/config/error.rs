//! What can be wrong with a configuration, each in one sentence that names the key and the mend.

use super::suggest::nearest;
use std::path::PathBuf;
use toml::Value;

/// Characters of a refused value that a message shows.
const SHOWN: usize = 80;

/// A value as a message of one line shows it: its beginning, if it is long.
pub(crate) fn shown(value: &str) -> String {
    let mut line: String = value.chars().take(SHOWN).collect();
    if line.len() < value.len() {
        line.truncate(line.trim_end().len());
        line += " ...";
    }
    line.replace(char::is_control, " ")
}

/// What can be wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// A configuration file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something is wrong in a configuration file.
    #[error("{path}: {source}")]
    InFile {
        /// The file.
        path: PathBuf,
        /// What.
        #[source]
        source: Box<ConfigError>,
    },
    /// There is no such key.
    #[error("unknown key `{key}`{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// Its dotted name.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// The key belongs to another method, backbone or optimiser.
    #[error("`{key}` has no meaning with {owner}{}: it has {}", did_you_mean_in(nearest.as_deref()), known.join(", "))]
    Stray {
        /// Its dotted name.
        key: String,
        /// The choice that leaves it without a meaning, e.g. "method.name = mae".
        owner: String,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// The keys that the choice has.
        known: Vec<String>,
    },
    /// A complete configuration lacks a key.
    #[error("`{key}` is missing: set it, or use the file as a recipe, which may leave keys out")]
    Missing {
        /// Its dotted name.
        key: String,
    },
    /// A value has the wrong type.
    #[error("{key} = {value}: must be {expected}")]
    WrongType {
        /// Dotted name.
        key: String,
        /// The value as written.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A value is out of range.
    #[error("{key} = {value}: must be {must}")]
    OutOfRange {
        /// Dotted name.
        key: String,
        /// The value as written.
        value: String,
        /// The range, e.g. "at least 1".
        must: String,
    },
    /// A name is none of those there are.
    #[error(
        "unknown {what} `{name}`{}: choose one of {}",
        did_you_mean_in(nearest.as_deref()),
        known.join(", ")
    )]
    UnknownName {
        /// What it names, e.g. "recipe" or "model.backbone".
        what: String,
        /// The name as written.
        name: String,
        /// The name that was probably meant.
        nearest: Option<String>,
        /// All names.
        known: Vec<String>,
    },
    /// An override is not of the form `key=value`.
    #[error("`{0}`: an override is written key=value, for example optim.lr=0.03")]
    Override(String),
    /// A view does not parse.
    #[error("{key} = \"{text}\": {source}")]
    View {
        /// Dotted name.
        key: String,
        /// The view as written.
        text: String,
        /// What is wrong with it.
        source: moco_data::ParseViewError,
    },
    /// The setting of a run that goes on cannot change.
    #[error(
        "`{key}` cannot change in a run that goes on, only {allowed} can: leave it out, or start a new run"
    )]
    Fixed {
        /// Its dotted name.
        key: String,
        /// The settings that can change.
        allowed: String,
    },
    /// Two values do not go together, or do not fit the data.
    #[error("{0}")]
    Invalid(String),
}

impl ConfigError {
    /// What the TOML reader says, in one line.
    pub(crate) fn syntax(message: &str) -> Self {
        ConfigError::Syntax(message.lines().collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn wrong_type(key: &str, value: &Value, expected: impl Into<String>) -> Self {
        ConfigError::WrongType {
            key: key.to_owned(),
            value: shown(&value.to_string()),
            expected: expected.into(),
        }
    }

    pub(crate) fn out_of_range(key: &str, value: &Value, must: String) -> Self {
        ConfigError::OutOfRange { key: key.to_owned(), value: shown(&value.to_string()), must }
    }

    /// `name` is none of `known`.
    pub(crate) fn unknown_name(what: &str, name: &str, known: &[&str]) -> Self {
        ConfigError::UnknownName {
            what: what.to_owned(),
            name: shown(name),
            nearest: nearest(name, known.iter().copied()).map(str::to_owned),
            known: known.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

fn did_you_mean_in(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(": did you mean `{name}`?"))
}
