//! torchvision: ResNets, and vision transformers.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL};

pub(super) const RESNET: Rule = Rule {
    layout: LayoutName::TorchvisionResNet,
    detect: |_, keys| Naming::Torchvision.is_at(keys, ""),
    ..USUAL
};

pub(super) const VIT: Rule = Rule {
    layout: LayoutName::TorchvisionVit,
    detect: |_, keys| Naming::TorchvisionVit.is_at(keys, ""),
    namings: &[Naming::TorchvisionVit],
    ..USUAL
};
