//! A setting as it is declared: its field in a struct, and what may be written for it, in one place.

use super::ConfigError;
use toml::Value;

/// A setting of a section: its name, and the values that it may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Its name within the section, e.g. `batch_size`.
    pub name: &'static str,
    /// What may be written for it.
    pub allowed: Allowed,
}

/// What may be written for a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    kind: Kind,
    /// Whether a complete configuration may leave it out.
    optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// A group whose settings are listed elsewhere.
    Group,
}

/// A number of things that fits no machine we know of, but still multiplies without overflow.
pub const MANY: i64 = 1 << 40;
/// A width: more channels, outputs or rows than any network here can use are refused.
pub const WIDE: Allowed = count(1, 1 << 24);
/// A share, 0..=1.
pub const SHARE: Allowed = real(0.0, 1.0);
/// A finite number above 0.
pub const POSITIVE: Allowed = Allowed::new(Kind::Positive);
/// `true` or `false`.
pub const FLAG: Allowed = Allowed::new(Kind::Flag);
/// Any text.
pub const TEXT: Allowed = Allowed::new(Kind::Text);
/// A list of texts.
pub const TEXTS: Allowed = Allowed::new(Kind::Texts);
/// A list of whole numbers, none negative.
pub const COUNTS: Allowed = Allowed::new(Kind::Counts);
/// A list of numbers above 0.
pub const REALS: Allowed = Allowed::new(Kind::Reals);
/// A group of settings that are declared elsewhere.
pub(crate) const GROUP: Allowed = Allowed::new(Kind::Group);

/// A whole number within bounds, both included.
pub const fn count(low: i64, high: i64) -> Allowed {
    Allowed::new(Kind::Count(low, high))
}

/// A number within bounds, both included.
pub const fn real(low: f64, high: f64) -> Allowed {
    Allowed::new(Kind::Real(low, high))
}

/// A number of at least `low`.
pub const fn at_least(low: f64) -> Allowed {
    Allowed::new(Kind::Real(low, f64::MAX))
}

/// One of these words.
pub const fn one_of(words: &'static [&'static str]) -> Allowed {
    Allowed::new(Kind::OneOf(words))
}

/// Declares a struct of settings, each field with what may be written for it. The struct is as it
/// stands there, and its constant `FIELDS` lists the settings.
///
/// ```
/// use moco::config::field::{SHARE, WIDE};
/// use serde::{Deserialize, Serialize};
///
/// moco::settings! {
///     /// Settings of a method.
///     #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
///     #[serde(deny_unknown_fields)]
///     pub struct Example {
///         /// Width of the compared vectors.
///         pub dim: usize => WIDE,
///         /// Momentum of the moving average, 0..=1.
///         pub momentum: f64 => SHARE,
///     }
/// }
/// assert_eq!(Example::FIELDS[1].name, "momentum");
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$outer:meta])*
        pub struct $name:ident {
            $($(#[$meta:meta])* pub $field:ident: $type:ty => $allowed:expr),* $(,)?
        }
    ) => {
        $(#[$outer])*
        pub struct $name {
            $($(#[$meta])* pub $field: $type),*
        }

        impl $name {
            /// The settings and the values that they may take, in the order of the struct.
            pub const FIELDS: &'static [$crate::config::field::Field] = &[
                $($crate::config::field::Field { name: stringify!($field), allowed: $allowed }),*
            ];
        }
    };
}

impl Allowed {
    const fn new(kind: Kind) -> Self {
        Self { kind, optional: false }
    }

    /// These values for a setting that a complete configuration may leave out.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Whether a complete configuration may leave the setting out.
    pub(crate) fn is_optional(&self) -> bool {
        self.optional
    }

    /// Whether this is a group and no setting.
    pub(crate) fn is_group(&self) -> bool {
        self.kind == Kind::Group
    }

    /// Whether text is what the setting holds, so that `--set` may go without quotes.
    pub(crate) fn holds_text(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::OneOf(_))
    }

    /// Whether `word` is one of those that the setting is chosen from.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        matches!(self.kind, Kind::OneOf(words) if words.contains(&word))
    }

    /// A small value in range, or one that begins a range; `None` where any text may be written.
    #[cfg(test)]
    pub(crate) fn drawn(&self, random: &mut impl rand::Rng) -> Option<Value> {
        use rand::{RngExt, seq::IndexedRandom};
        const COUNTS: [i64; 14] = [0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64];
        const REALS: [f64; 9] = [0.0, 1e-3, 0.05, 0.1, 0.5, 0.9, 0.99, 1.0, 2.0];
        let mut real = |fits: &dyn Fn(f64) -> bool| {
            let fitting: Vec<f64> = REALS.into_iter().filter(|x| fits(*x)).collect();
            fitting.choose(random).map(|x| Value::Float(*x))
        };
        match self.kind {
            Kind::Count(low, high) => {
                let fitting: Vec<i64> =
                    COUNTS.into_iter().filter(|n| (low..=high).contains(n)).collect();
                Some(Value::Integer(*fitting.choose(random).unwrap_or(&low)))
            }
            Kind::Real(low, high) => real(&|x| (low..=high).contains(&x)),
            Kind::Positive => real(&|x| x > 0.0),
            Kind::Flag => Some(Value::Boolean(random.random())),
            Kind::OneOf(words) => words.choose(random).map(|word| Value::String((*word).into())),
            Kind::Counts => {
                let count = random.random_range(0..5);
                Some((0..count).map(|_| random.random_range(0..4)).collect::<Vec<i64>>().into())
            }
            Kind::Reals => Some(
                (0..random.random_range(0..4))
                    .map(|i| 0.5 + f64::from(i))
                    .collect::<Vec<_>>()
                    .into(),
            ),
            Kind::Text | Kind::Texts | Kind::Group => None,
        }
    }

    /// Refuses a value of the wrong type or out of range for the setting at `path`.
    ///
    /// # Errors
    /// [`ConfigError::WrongType`], [`ConfigError::OutOfRange`] or [`ConfigError::UnknownName`].
    pub(crate) fn check(&self, path: &str, value: &Value) -> Result<(), ConfigError> {
        let out_of_range = |must: String| Err(ConfigError::out_of_range(path, value, must));
        let wrong_type = |expected: &str| Err(ConfigError::wrong_type(path, value, expected));
        let list = |fits: fn(&Value) -> bool, expected| match value.as_array() {
            Some(all) if all.iter().all(fits) => Ok(()),
            _ => wrong_type(expected),
        };
        match self.kind {
            Kind::Count(low, high) => match value.as_integer() {
                None => wrong_type("a whole number"),
                Some(n) if n < low => out_of_range(format!("at least {low}")),
                Some(n) if n > high => out_of_range(format!("at most {high}")),
                Some(_) => Ok(()),
            },
            Kind::Real(low, high) => match number(value) {
                None => wrong_type("a number"),
                Some(x) if (low..=high).contains(&x) => Ok(()),
                Some(_) if high == f64::MAX => out_of_range(format!("at least {low}")),
                Some(_) => out_of_range(format!("between {low} and {high}")),
            },
            Kind::Positive => match number(value) {
                None => wrong_type("a number"),
                Some(x) if x > 0.0 && x.is_finite() => Ok(()),
                Some(_) => out_of_range("above 0".to_owned()),
            },
            Kind::Flag if value.is_bool() => Ok(()),
            Kind::Flag => wrong_type("true or false"),
            Kind::Text if value.is_str() => Ok(()),
            Kind::Text => wrong_type("a text"),
            Kind::Texts => list(Value::is_str, "a list of texts"),
            Kind::Counts => list(is_count, "a list of whole numbers"),
            Kind::Reals => list(is_positive, "a list of numbers above 0"),
            Kind::OneOf(words) => check_word(path, value, words),
            Kind::Group => Ok(()),
        }
    }
}

/// Refuses a value that is none of `words`.
pub(crate) fn check_word(path: &str, value: &Value, words: &[&str]) -> Result<(), ConfigError> {
    match value.as_str() {
        Some(word) if words.contains(&word) => Ok(()),
        Some(word) => Err(ConfigError::unknown_name(path, word, words)),
        None => {
            let expected = format!("one of {}", words.join(", "));
            Err(ConfigError::wrong_type(path, value, expected))
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

fn is_count(value: &Value) -> bool {
    value.as_integer().is_some_and(|n| n >= 0)
}

fn is_positive(value: &Value) -> bool {
    number(value).is_some_and(|x| x > 0.0)
}
