//! What may change about a run that goes on, and how two configurations differ.

use super::keys::{Keys, is_section};
use super::{Plan, read};
use crate::config::tree::remove;
use crate::config::{ConfigError, RunConfig};
use toml::{Table, Value};

/// Settings that change no weight that is learnt, and may differ when a run goes on; `monitor.`
/// stands for all of its section.
///
/// `data.path` says where the images lie now; that they are the same is checked. `train.max_steps`
/// may change because the schedules are stretched over `train.epochs`, which may not.
pub const CHANGEABLE: [&str; 7] = [
    "data.max_bad_share",
    "data.path",
    "monitor.",
    "train.checkpoint_steps",
    "train.keep_checkpoints",
    "train.log_steps",
    "train.max_steps",
];

/// A setting that two configurations have different values for.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its dotted name.
    pub key: String,
    /// The first one's value, unless it has none.
    pub first: Option<Value>,
    /// The second one's.
    pub second: Option<Value>,
}

impl Difference {
    /// Whether a run that goes on may take the other value.
    pub fn may_change(&self) -> bool {
        may_change(&self.key)
    }
}

/// Whether the setting may differ when a run goes on.
fn may_change(key: &str) -> bool {
    let allows = |allowed: &str| match allowed.ends_with('.') {
        true => key.starts_with(allowed),
        false => key == allowed,
    };
    CHANGEABLE.into_iter().any(allows)
}

/// The settings that differ, in the order of their names.
///
/// # Errors
/// As [`RunConfig::to_toml`].
pub fn differences(first: &RunConfig, second: &RunConfig) -> Result<Vec<Difference>, ConfigError> {
    let (first, second) = (tree(first)?, tree(second)?);
    let mut found = Vec::new();
    compare(&first, &second, "", &mut found);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

fn compare(first: &Table, second: &Table, prefix: &str, found: &mut Vec<Difference>) {
    let nothing = Table::new();
    let second_alone = second.keys().filter(|name| !first.contains_key(*name));
    for name in first.keys().chain(second_alone) {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let (one, other) = (first.get(name), second.get(name));
        if is_section(&key) {
            let table = |value: Option<&'_ Value>| value.and_then(Value::as_table).cloned();
            let (one, other) = (table(one), table(other));
            compare(
                one.as_ref().unwrap_or(&nothing),
                other.as_ref().unwrap_or(&nothing),
                &key,
                found,
            );
        } else if one != other {
            found.push(Difference { key, first: one.cloned(), second: other.cloned() });
        }
    }
}

fn tree(config: &RunConfig) -> Result<Table, ConfigError> {
    Table::try_from(config).map_err(|error| ConfigError::Invalid(error.to_string()))
}

impl Plan {
    /// This plan with the second value of each difference.
    ///
    /// # Errors
    /// When the values do not go together.
    pub fn with_second(&self, differences: &[Difference]) -> Result<Plan, ConfigError> {
        let mut tree = tree(self)?;
        for difference in differences {
            match &difference.second {
                Some(value) => read::set(&mut tree, &difference.key, value.clone())?,
                None => remove(&mut tree, &difference.key),
            }
        }
        Plan::from_tree(tree)
    }

    /// This plan with overrides such as `data.max_bad_share=0.05`, for a run that goes on.
    ///
    /// # Errors
    /// [`ConfigError::Fixed`] for a setting that may not change, and what is wrong with a value.
    pub fn with_changes(&self, assignments: &[String]) -> Result<Plan, ConfigError> {
        let mut tree = tree(self)?;
        for assignment in assignments {
            let key = assignment.split_once('=').map(|(key, _)| key.trim());
            if let Some(key) = key.filter(|key| !may_change(key)) {
                Keys::of(&tree).find(key)?;
                let (key, allowed) = (key.to_owned(), changeable_text());
                return Err(ConfigError::Fixed { key, allowed });
            }
            read::set_value(&mut tree, assignment)?;
        }
        Plan::from_tree(tree)
    }
}

/// [`CHANGEABLE`] as a message lists them.
fn changeable_text() -> String {
    CHANGEABLE.map(|key| if key.ends_with('.') { format!("{key}*") } else { key.into() }).join(", ")
}
