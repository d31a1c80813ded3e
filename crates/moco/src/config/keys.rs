//! Every key of a run's configuration: its name, its type and the values it may take.
//!
//! The structs in [`super`] say what a setting means; this table says what may be written for it.
//! A TOML tree is held against the table before it is deserialised, because only here is the
//! full dotted name at hand that a message needs. A test keeps table and structs in step.

use super::ConfigError;
use super::suggest::nearest;
use toml::{Table, Value};

/// Backbones by name, smallest first.
pub const BACKBONES: [&str; 4] = ["resnet18", "resnet34", "resnet50", "resnet101"];

/// Methods by name, in order of publication.
pub const METHODS: [&str; 2] = ["moco-v1", "moco-v2"];

/// One setting.
pub(super) struct Key {
    /// Dotted name, e.g. `train.batch_size`.
    pub path: &'static str,
    kind: Kind,
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
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A number of things that fits no machine we know of, but still multiplies without overflow.
const MANY: i64 = 1 << 40;

/// The sections and the settings in them, in the order of [`super::RunConfig`].
const KEYS: &[Key] = &[
    required("method.name", Kind::OneOf(&METHODS)),
    required("method.queue", Kind::Count(1, 1 << 24)),
    required("method.momentum", Kind::Real(0.0, 1.0)),
    required("method.temperature", Kind::Positive),
    required("method.dim", Kind::Count(1, 1 << 16)),
    required("method.head", Kind::OneOf(&["linear", "mlp"])),
    required("method.symmetric", Kind::Flag),
    required("method.shuffle_keys", Kind::Flag),
    required("model.backbone", Kind::OneOf(&BACKBONES)),
    required("model.width", Kind::Count(1, 1024)),
    required("model.stem", Kind::OneOf(&["imagenet", "cifar"])),
    required("model.zero_init_residual", Kind::Flag),
    required("model.bn_groups", Kind::Count(1, 1 << 16)),
    required("data.path", Kind::Text),
    required("data.views", Kind::Texts),
    required("data.eval_view", Kind::Text),
    required("data.max_bad_share", Kind::Real(0.0, 1.0)),
    required("optim.lr", Kind::Positive),
    required("optim.lr_batch", Kind::Count(1, 1 << 24)),
    required("optim.momentum", Kind::Real(0.0, 1.0)),
    required("optim.weight_decay", Kind::Real(0.0, f64::MAX)),
    required("optim.schedule.kind", Kind::OneOf(&["constant", "cosine", "step"])),
    optional("optim.schedule.milestones", Kind::Counts),
    optional("optim.schedule.gamma", Kind::Positive),
    required("optim.granularity", Kind::OneOf(&["epoch", "step"])),
    required("optim.warmup_epochs", Kind::Real(0.0, f64::MAX)),
    required("train.epochs", Kind::Count(1, 1 << 24)),
    required("train.batch_size", Kind::Count(1, 1 << 24)),
    optional("train.max_steps", Kind::Count(1, MANY)),
    required("train.seed", Kind::Count(0, i64::MAX)),
    required("train.checkpoint_steps", Kind::Count(0, MANY)),
    required("train.keep_checkpoints", Kind::Count(1, MANY)),
    required("train.log_steps", Kind::Count(1, MANY)),
    required("monitor.knn_epochs", Kind::Count(0, MANY)),
    required("monitor.knn_k", Kind::Count(1, MANY)),
    required("monitor.knn_temperature", Kind::Positive),
    required("monitor.knn_feature", Kind::OneOf(&["backbone", "head"])),
    optional("monitor.knn_test", Kind::Text),
];

const fn required(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, optional: false }
}

const fn optional(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, optional: true }
}

/// Looks a setting up by its dotted name.
///
/// # Errors
/// [`ConfigError::UnknownKey`], with the nearest name there is.
pub(super) fn find(path: &str) -> Result<&'static Key, ConfigError> {
    KEYS.iter().find(|key| key.path == path).ok_or_else(|| ConfigError::UnknownKey {
        key: path.to_owned(),
        nearest: nearest_key(path).map(str::to_owned),
    })
}

/// Refuses unknown keys, wrong types and values out of range anywhere in `tree`, which may be
/// incomplete.
pub(super) fn check(tree: &Table) -> Result<(), ConfigError> {
    check_table(tree, "")
}

/// As [`check`], and refuses a tree that lacks a setting.
pub(super) fn check_complete(tree: &Table) -> Result<(), ConfigError> {
    check(tree)?;
    match KEYS.iter().find(|key| !key.optional && get(tree, key.path).is_none()) {
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
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

fn is_count(value: &Value) -> bool {
    value.as_integer().is_some_and(|n| n >= 0)
}
