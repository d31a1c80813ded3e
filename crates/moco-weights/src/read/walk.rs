//! From a pickle's values to names: the keys of nested dictionaries with dots between them.

use super::checkpoint::Skipped;
use super::pickle::{Id, Node, Object, Pickle, Refusal, View};
use std::collections::BTreeMap;

/// Most values that are looked at: shared ones are looked at once for each name.
const MOST_STEPS: usize = 16 << 20;
/// Most bytes of all names together.
const MOST_LETTERS: usize = 256 << 20;
/// Deepest nesting of dictionaries.
const DEEPEST: usize = 64;
/// Most texts and numbers that are kept, and the longest one in bytes.
const MOST_TEXTS: usize = 2000;
const LONGEST_TEXT: usize = 200;

/// What a pickle holds, by name.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub tensors: BTreeMap<String, &'a View>,
    pub skipped: Vec<Skipped>,
    pub metadata: BTreeMap<String, String>,
}

/// Walks through dictionaries, lists, and the modules of whole networks.
pub(super) fn walk(pickle: &Pickle) -> Result<Found<'_>, Refusal> {
    let mut walker = Walker { pickle, found: Found::default(), steps: 0, letters: 0 };
    walker.visit(String::new(), pickle.root, 0)?;
    Ok(walker.found)
}

struct Walker<'a> {
    pickle: &'a Pickle,
    found: Found<'a>,
    steps: usize,
    letters: usize,
}

impl<'a> Walker<'a> {
    fn visit(&mut self, name: String, id: Id, depth: usize) -> Result<(), Refusal> {
        self.steps += 1;
        self.letters += name.len();
        if depth > DEEPEST || self.steps > MOST_STEPS || self.letters > MOST_LETTERS {
            return Err(Refusal::Unread("nests more values than weights do".into()));
        }
        match self.pickle.node(id) {
            Node::Tensor(view) => {
                self.found.tensors.insert(name, view);
                Ok(())
            }
            Node::Dict(items) => self.items(&name, items, depth),
            Node::List(items) | Node::Tuple(items) => {
                items.iter().enumerate().try_for_each(|(i, &item)| {
                    self.visit(join(&name, &i.to_string()), item, depth + 1)
                })
            }
            Node::Object(object) => self.object(name, object, depth),
            Node::Storage(_) => {
                self.skip(name, "a storage without a tensor".into());
                Ok(())
            }
            Node::Bool(value) => self.text(name, || value.to_string()),
            Node::Int(value) => self.text(name, || value.to_string()),
            Node::Float(value) => self.text(name, || value.to_string()),
            Node::Text(value) => self.text(name, || value.clone()),
            Node::None | Node::Opaque | Node::Global(..) => Ok(()),
        }
    }

    fn items(&mut self, name: &str, items: &[(Id, Id)], depth: usize) -> Result<(), Refusal> {
        for &(key, value) in items {
            let key = match self.pickle.node(key) {
                Node::Text(key) => join(name, key),
                Node::Int(key) => join(name, &key.to_string()),
                _ => continue,
            };
            self.visit(key, value, depth + 1)?;
        }
        Ok(())
    }

    fn object(&mut self, name: String, object: &'a Object, depth: usize) -> Result<(), Refusal> {
        if !object.items.is_empty() {
            return self.items(&name, &object.items, depth);
        }
        let state = object.state.map(|state| self.pickle.node(state));
        let Some(Node::Dict(state)) = state else {
            if object.holds_tensor || object.state.is_some() {
                self.skip(name, format!("an object of the class {}", object.class));
            }
            return Ok(());
        };
        let entry = |wanted: &str| {
            let found = state.iter().find(|(key, _)| self.pickle.text(*key) == Some(wanted));
            found.map(|&(_, value)| value)
        };
        match (entry("_parameters"), entry("_modules")) {
            (Some(parameters), Some(modules)) => {
                let parts = [Some(parameters), entry("_buffers"), Some(modules)];
                self.module(&name, state, parts, depth)
            }
            _ => self.attributes(name, object, state, depth),
        }
    }

    /// A whole network: what its `state_dict()` would have.
    fn module(
        &mut self,
        name: &str,
        state: &[(Id, Id)],
        parts: [Option<Id>; 3],
        depth: usize,
    ) -> Result<(), Refusal> {
        let pickle = self.pickle;
        let own = |id: Id| match pickle.node(id) {
            Node::Dict(items) => items.as_slice(),
            Node::Object(object) => object.items.as_slice(),
            _ => &[],
        };
        // Buffers that a module computes anew are in no `state_dict()`.
        let named = |(key, _): &&(Id, Id)| pickle.text(*key) == Some("_non_persistent_buffers_set");
        let computed = state.iter().find(named).map(|&(_, names)| pickle.node(names));
        let leaves_out = |key: Id| match computed {
            Some(Node::List(names)) => {
                names.iter().any(|&name| pickle.text(name) == pickle.text(key))
            }
            _ => false,
        };
        for items in parts.into_iter().flatten().map(own).collect::<Vec<_>>() {
            let kept: Vec<_> = items.iter().copied().filter(|(key, _)| !leaves_out(*key)).collect();
            self.items(name, &kept, depth)?;
        }
        Ok(())
    }

    /// The attributes of an object that is no network: texts and numbers are kept, as of the
    /// arguments of a program.
    fn attributes(
        &mut self,
        name: String,
        object: &Object,
        state: &'a [(Id, Id)],
        depth: usize,
    ) -> Result<(), Refusal> {
        let is_tensor = |id: Id| matches!(self.pickle.node(id), Node::Tensor(_));
        if object.holds_tensor || state.iter().any(|&(_, value)| is_tensor(value)) {
            self.skip(name, format!("an object of the class {}", object.class));
            return Ok(());
        }
        let is_plain = |id: Id| {
            matches!(
                self.pickle.node(id),
                Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_)
            )
        };
        let plain: Vec<_> = state.iter().copied().filter(|&(_, value)| is_plain(value)).collect();
        for (key, value) in plain {
            if let Some(key) = self.pickle.text(key) {
                self.visit(join(&name, key), value, depth + 1)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, name: String, value: impl FnOnce() -> String) -> Result<(), Refusal> {
        if self.found.metadata.len() < MOST_TEXTS && name.len() <= LONGEST_TEXT {
            let value = value();
            if value.len() <= LONGEST_TEXT {
                self.found.metadata.insert(name, value);
            }
        }
        Ok(())
    }

    fn skip(&mut self, name: String, what: String) {
        if self.found.skipped.len() < MOST_TEXTS {
            self.found.skipped.push(Skipped { name, what });
        }
    }
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}
