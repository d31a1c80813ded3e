//! A configuration on its way to completeness.

use super::tree::{get, insert};
use toml::{Table, Value};

/// A configuration on its way to completeness: what is given stands, what is open gets a value, and
/// values that follow from the data come with a note that says why, so that a person can disagree.
#[derive(Clone, Debug)]
pub struct Draft {
    tree: Table,
    notes: Vec<String>,
}

impl Draft {
    /// Begins with what is given.
    pub(crate) fn new(tree: Table) -> Self {
        Self { tree, notes: Vec::new() }
    }

    /// What has come of it: the tree, and what there is to say.
    pub(crate) fn into_parts(self) -> (Table, Vec<String>) {
        (self.tree, self.notes)
    }

    /// Gives a setting, by its dotted name such as `method.dim`, its value unless it has one, and notes
    /// why if there is a reason to.
    pub fn fill(&mut self, key: &str, value: impl Into<Value>, why: Option<String>) {
        if self.value(key).is_some() {
            return;
        }
        let value = value.into();
        if let Some(why) = why {
            self.notes.push(format!("{key} = {value}: {why}"));
        }
        insert(&mut self.tree, key, value);
    }

    /// As [`Draft::fill`], of a text; returns the text that is there then.
    pub fn fill_text(&mut self, key: &str, value: &str) -> String {
        self.fill(key, value, None);
        self.value(key).and_then(Value::as_str).unwrap_or(value).to_owned()
    }

    /// As [`Draft::fill`], of a flag; returns the flag that is there then.
    pub fn fill_flag(&mut self, key: &str, value: bool) -> bool {
        self.fill(key, value, None);
        self.value(key).and_then(Value::as_bool).unwrap_or(value)
    }

    /// Replaces a value, and says why.
    pub(crate) fn overrule(&mut self, key: &str, value: Value, why: &str) {
        self.notes.push(format!("{key} = {value}: {why}"));
        insert(&mut self.tree, key, value);
    }

    /// A whole number that was given or filled in before; 0 if there is none.
    pub fn count(&self, key: &str) -> usize {
        let value = self.value(key).and_then(Value::as_integer);
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0)
    }

    /// The value of a setting, if it has one by now.
    pub fn value(&self, key: &str) -> Option<&Value> {
        get(&self.tree, key)
    }

    /// Says something about the configuration, one sentence.
    pub fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }
}
