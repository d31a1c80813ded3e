//! A file's names without what wrappers put in front of them.

use crate::read::{Checkpoint, Tensor};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Parts of names that wrappers of modules put in, anywhere.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module"];
/// Keys of dictionaries around a network, in front only.
const FRONTS: [&str; 7] =
    ["state_dict", "model_state_dict", "model", "net", "network", "model_state", "params"];

/// Tensors by their clean names.
pub(crate) struct Keys<'a> {
    /// Clean name to the file's own name and the tensor.
    pub tensors: BTreeMap<String, (&'a str, &'a Tensor)>,
    /// Names that become another's when cleaned; they are left.
    pub doubles: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    /// The clean names of a file.
    pub fn of(checkpoint: &'a Checkpoint) -> Keys<'a> {
        let mut keys = Keys { tensors: BTreeMap::new(), doubles: Vec::new() };
        for (name, tensor) in &checkpoint.tensors {
            match keys.tensors.entry(clean(name)) {
                Entry::Vacant(place) => {
                    place.insert((name, tensor));
                }
                Entry::Occupied(_) => keys.doubles.push(name),
            }
        }
        keys
    }

    /// Whether there is a tensor of this clean name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether a clean name begins so.
    pub fn any(&self, start: &str) -> bool {
        self.under(start).next().is_some()
    }

    /// The tensors whose clean names begin so, by the rest of their names.
    pub fn under<'s>(
        &'s self,
        start: &'s str,
    ) -> impl Iterator<Item = (&'s str, &'a str, &'a Tensor)> + 's {
        let range = self.tensors.range(start.to_owned()..);
        range.map_while(move |(name, &(file, tensor))| {
            Some((name.strip_prefix(start)?, file, tensor))
        })
    }

    /// How many axes the tensor of a clean name has; 0 if there is none.
    pub fn axes(&self, name: &str) -> usize {
        self.tensors.get(name).map_or(0, |(_, tensor)| tensor.shape.len())
    }
}

/// `state_dict.module.encoder_q.conv1.weight` as `encoder_q.conv1.weight`.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    while parts.len() > 1 && FRONTS.contains(&parts[0]) {
        parts.remove(0);
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn wrappers_are_taken_off() {
        for (name, expected) in [
            ("state_dict.module.encoder_q.conv1.weight", "encoder_q.conv1.weight"),
            ("student.module.backbone.cls_token", "student.backbone.cls_token"),
            ("model.encoder.module.l_to_ab.fc.bias", "encoder.l_to_ab.fc.bias"),
            ("net.module.linear.weight", "linear.weight"),
            ("optimizer.state.0.exp_avg", "optimizer.state.0.exp_avg"),
            ("model.cls_token", "cls_token"),
        ] {
            assert_eq!(clean(name), expected);
        }
    }
}
