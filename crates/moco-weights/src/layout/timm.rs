//! timm: vision transformers, and ResNets, whose names are torchvision's.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL};
use crate::architecture::Interpolation;

pub(super) const VIT: Rule = Rule {
    layout: LayoutName::TimmVit,
    detect: |_, keys| Naming::Timm.is_at(keys, ""),
    namings: &[Naming::Timm],
    interpolation: Interpolation::BicubicAntialias,
    ..USUAL
};

/// Told from torchvision's by timm's configuration beside it.
pub(super) const RESNET: Rule = Rule {
    layout: LayoutName::TimmResNet,
    detect: |checkpoint, keys| {
        let config = checkpoint.config.as_ref();
        let timm = config.is_some_and(|config| config.get("pretrained_cfg").is_some());
        timm && Naming::Torchvision.is_at(keys, "")
    },
    ..USUAL
};
