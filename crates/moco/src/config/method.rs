//! The method of a run, as plain data: its name, and values for its settings.

use super::ConfigError;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

/// A method by name, with the settings that belong to it.
///
/// Which settings those are, and what they mean, the method says: see `moco::methods::Spec`. What a
/// [`crate::config::RunConfig`] of a plan holds is complete, in the order in which the method declares
/// its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodConfig {
    name: String,
    values: Vec<(String, Value)>,
}

impl MethodConfig {
    /// The settings of the method `name`, in the order in which they are to be written.
    pub fn new(name: &str, values: Vec<(String, Value)>) -> Self {
        Self { name: name.to_owned(), values }
    }

    /// The method's name, as in `--method`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a setting by its name within `[method]`, if the method has it.
    pub fn get(&self, setting: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| name == setting).map(|(_, value)| value)
    }

    /// The settings as a table.
    pub fn table(&self) -> Table {
        self.values.iter().cloned().collect()
    }

    /// The settings as the struct that their method has for them.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] if they are not those of that struct.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.table()
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::syntax(error.message()))
    }
}

impl Serialize for MethodConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.values.len()))?;
        map.serialize_entry("name", &self.name)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Table::deserialize(deserializer)?;
        match values.remove("name") {
            Some(Value::String(name)) => Ok(Self { name, values: values.into_iter().collect() }),
            _ => Err(serde::de::Error::missing_field("name")),
        }
    }
}
