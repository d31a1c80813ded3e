//! mangye16/Unsupervised_Embedding_Learning: a ResNet for CIFAR with `shortcut` for `downsample` and
//! `linear` for `fc`.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, head};

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::InvaSpread,
    detect: |_, keys| Naming::Shortcut.is_at(keys, "") && keys.any("linear."),
    namings: &[Naming::Shortcut],
    heads: &[head("linear.")],
    ..USUAL
};
