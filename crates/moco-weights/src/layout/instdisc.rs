//! zhirongw/lemniscate.pytorch: a ResNet whose `fc` is the projection, and beside it the memory bank
//! as an object of its own class, `lemniscate`.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, head};

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::InstDisc,
    detect: |checkpoint, keys| {
        let bank = |name: &str| name == "lemniscate" || name.starts_with("lemniscate.");
        Naming::Torchvision.is_at(keys, "")
            && (keys.any("lemniscate.") || checkpoint.skipped.iter().any(|s| bank(&s.name)))
    },
    heads: &[head("fc.")],
    ..USUAL
};
