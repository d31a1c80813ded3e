//! Every setting of a run by its dotted name, those of its method included: what may be written, and
//! beside which choices a setting has a meaning.
//!
//! A TOML tree is held against these before it becomes structs, because only here is the full dotted
//! name at hand that a message needs. What may be written stands at each struct's own field.

use crate::config::field::{Allowed, TEXT, check_word, one_of};
use crate::config::tree::{get, remove};
use crate::config::{
    BACKBONES, ConfigError, DataConfig, Field, InitConfig, MonitorConfig, OPTIMIZERS, OptimConfig,
    RULE_FIELDS, ResNetConfig, SCHEDULE_FIELDS, TrainConfig, VitModelConfig, nearest, shown,
};
use crate::methods::{self, Spec};
use std::collections::BTreeSet;
use toml::{Table, Value};

/// The setting that says whose settings `[method]` has.
pub(super) const METHOD: &str = "method.name";

/// One setting.
struct Key {
    /// Dotted name, e.g. `train.batch_size`.
    path: String,
    allowed: Allowed,
    when: When,
}

/// What a setting depends on.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// Every run has it.
    Always,
    /// Methods have it, among them the tree's own or not.
    Method(bool),
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
            When::Method(_) => METHOD,
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
            When::Method(own) => *own,
            When::Optimizer(names) => names.contains(&value),
            When::Backbone(family) => value.starts_with(family),
        }
    }
}

/// All settings, as far as the method of `tree` decides.
pub(super) struct Keys<'a> {
    tree: &'a Table,
    keys: Vec<Key>,
}

impl<'a> Keys<'a> {
    /// The settings of the method that `tree` names; of every method if it names none.
    pub(super) fn of(tree: &'a Table) -> Self {
        let name = get(tree, METHOD).and_then(Value::as_str);
        let chosen = name.and_then(methods::find);
        let mut keys = method_keys(chosen);
        keys.push(Key {
            path: "model.backbone".to_owned(),
            allowed: one_of(&BACKBONES),
            when: When::Always,
        });
        let mut add =
            |section: &str, fields: &[Field], when: When| {
                keys.extend(fields.iter().filter(|field| !field.allowed.is_group()).map(|field| {
                    Key { path: format!("{section}.{}", field.name), allowed: field.allowed, when }
                }));
            };
        add("model", ResNetConfig::FIELDS, When::Backbone("resnet"));
        add("model", VitModelConfig::FIELDS, When::Backbone("vit"));
        add("init", InitConfig::FIELDS, When::Always);
        add("data", DataConfig::FIELDS, When::Always);
        let optimizer = Field { name: "optimizer", allowed: one_of(&OPTIMIZERS) };
        add("optim", &[optimizer], When::Always);
        for (optimizers, field) in RULE_FIELDS {
            add("optim", &[field], When::Optimizer(optimizers));
        }
        let (before, after) = around(OptimConfig::FIELDS, "schedule");
        add("optim", before, When::Always);
        add("optim.schedule", &SCHEDULE_FIELDS, When::Always);
        add("optim", after, When::Always);
        add("train", TrainConfig::FIELDS, When::Always);
        add("monitor", MonitorConfig::FIELDS, When::Always);
        let profile = chosen.map(Spec::profile);
        for (path, holds) in [
            ("optim.accumulate_exact", profile.is_none_or(|profile| profile.compares)),
            ("monitor.knn_bank", profile.is_none_or(|profile| profile.remembers)),
        ] {
            if let Some(key) = keys.iter_mut().find(|key| key.path == path) {
                key.when = When::Method(holds);
            }
        }
        Self { tree, keys }
    }

    /// What may be written for a setting.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`], with the nearest name there is.
    pub(super) fn find(&self, path: &str) -> Result<Allowed, ConfigError> {
        let key = self.keys.iter().find(|key| key.path == path);
        key.map(|key| key.allowed).ok_or_else(|| ConfigError::UnknownKey {
            key: shown(path),
            nearest: self.nearest(path).map(str::to_owned),
        })
    }

    /// Refuses unknown keys, wrong types, values out of range, and settings without a meaning anywhere in
    /// the tree, which may be incomplete.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_table(self.tree, "")?;
        let stray = |key: &&Key| !key.when.holds(self.tree) && get(self.tree, &key.path).is_some();
        match self.keys.iter().find(stray) {
            Some(key) => Err(self.stray(key)),
            None => Ok(()),
        }
    }

    /// As [`Keys::check`], and refuses a tree that lacks a setting.
    pub(super) fn check_complete(&self) -> Result<(), ConfigError> {
        self.check()?;
        let lacks = |key: &&Key| {
            let needed = !key.allowed.is_optional() && key.when.holds(self.tree);
            needed && get(self.tree, &key.path).is_none()
        };
        match self.keys.iter().find(lacks) {
            Some(key) => Err(ConfigError::Missing { key: key.path.clone() }),
            None => Ok(()),
        }
    }

    /// The settings that have no meaning beside the tree's method, backbone and optimiser.
    fn strays(&self) -> Vec<String> {
        let stray = self.keys.iter().filter(|key| !key.when.holds(self.tree));
        stray.map(|key| key.path.clone()).collect()
    }

    /// Refuses unknown keys, wrong types and values out of range in `change`, which is to be laid over
    /// the tree.
    pub(super) fn check_values(&self, change: &Table) -> Result<(), ConfigError> {
        self.check_table(change, "")
    }

    fn check_table(&self, table: &Table, prefix: &str) -> Result<(), ConfigError> {
        for (name, value) in table {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if is_section(&path) {
                let section = value.as_table().ok_or_else(|| {
                    let what = format!("a section, written [{path}] with its settings below");
                    ConfigError::wrong_type(&path, value, what)
                })?;
                self.check_table(section, &path)?;
            } else if path == METHOD {
                check_word(&path, value, &methods::names())?;
            } else {
                self.find(&path)?.check(&path, value)?;
            }
        }
        Ok(())
    }

    /// A key with the same last part wins over one that is merely spelled alike, so that `lr` and
    /// `train.lr` both lead to `optim.lr`.
    fn nearest(&self, path: &str) -> Option<&str> {
        let names = || self.keys.iter().map(|key| key.path.as_str());
        let last = path.rsplit('.').next().unwrap_or(path);
        if let Some(same) = names().find(|name| name.rsplit('.').next() == Some(last)) {
            return Some(same);
        }
        if path.contains('.') {
            return nearest(path, names());
        }
        let alike = names().filter_map(|name| {
            let last = name.rsplit('.').next()?;
            nearest(path, [last]).map(|last| (strsim::damerau_levenshtein(path, last), name))
        });
        alike.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
    }

    /// The error for a setting that has no meaning: it lists those that have.
    fn stray(&self, key: &Key) -> ConfigError {
        let (by, value) = key.when.decided_by(self.tree).unwrap_or(("", ""));
        let section = key.path.split_once('.').map_or("", |(section, _)| section);
        let known = self.keys.iter().filter(|other| {
            other.path.starts_with(section)
                && other.when != When::Always
                && other.when.holds(self.tree)
        });
        let known: Vec<String> = known.map(|key| key.path.clone()).collect();
        ConfigError::Stray {
            key: key.path.clone(),
            owner: format!("{by} = {value}"),
            nearest: nearest(&key.path, known.iter().map(String::as_str)).map(str::to_owned),
            known,
        }
    }
}

/// The settings in `[method]`: those of the chosen method, then those that only others have; without a
/// choice, those of all. Of several methods that call a setting alike, the first says what may be written.
fn method_keys(chosen: Option<&'static dyn Spec>) -> Vec<Key> {
    let name = Key { path: METHOD.to_owned(), allowed: TEXT, when: When::Always };
    let (mut keys, mut seen) = (vec![name], BTreeSet::new());
    let own = chosen.map(|spec| (spec, true));
    for (spec, holds) in own.into_iter().chain(methods::all().into_iter().map(|spec| (spec, false)))
    {
        for field in spec.fields().iter().filter(|field| seen.insert(field.name)) {
            keys.push(Key {
                path: format!("method.{}", field.name),
                allowed: field.allowed,
                when: When::Method(holds || chosen.is_none()),
            });
        }
    }
    keys
}

/// The fields before and behind one of them.
fn around<'a>(fields: &'a [Field], name: &str) -> (&'a [Field], &'a [Field]) {
    let at = fields.iter().position(|field| field.name == name).unwrap_or(fields.len());
    fields.split_at(at)
}

/// Takes out of `tree` what has no meaning beside its method, backbone and optimiser.
pub(super) fn drop_stray(tree: &mut Table) {
    for path in Keys::of(tree).strays() {
        remove(tree, &path);
    }
}

/// Whether a dotted name is a section that holds settings.
pub(super) fn is_section(path: &str) -> bool {
    ["method", "model", "init", "data", "optim", "optim.schedule", "train", "monitor"]
        .contains(&path)
}

/// A setting that the tree may have, with a value in its range; `None` if any text may be written for it.
#[cfg(test)]
pub(crate) fn drawn(tree: &Table, random: &mut impl rand::Rng) -> Option<(String, Value)> {
    use rand::seq::IndexedRandom;
    let keys = Keys::of(tree).keys;
    let fitting: Vec<&Key> = keys.iter().filter(|key| key.when.holds(tree)).collect();
    let key = fitting.choose(random)?;
    Some((key.path.clone(), key.allowed.drawn(random)?))
}

/// The dotted names of all settings of all methods.
#[cfg(test)]
pub(super) fn paths() -> BTreeSet<String> {
    Keys::of(&Table::new()).keys.into_iter().map(|key| key.path).collect()
}
