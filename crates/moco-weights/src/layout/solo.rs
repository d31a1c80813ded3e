//! solo-learn: a Lightning checkpoint with `backbone`, in older releases `encoder`, of torchvision's or
//! timm's names, `projector`, `classifier` and momentum copies. Its stem for CIFAR pads by 2.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, beside, part};
use crate::weights::{Input, Section};

/// Statistics of all pixels of CIFAR-10, which its code has.
const CIFAR: Input = Input::Rgb { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] };

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Solo,
    detect: |_, keys| RULE.has_backbone(keys),
    parts: &[
        part("backbone", &["backbone.", "encoder."]),
        part("momentum_backbone", &["momentum_backbone.", "momentum_encoder."]),
    ],
    namings: &[Naming::Torchvision, Naming::Timm],
    heads: &[
        beside(Section::Head, &["projector.", "momentum_projector."]),
        beside(Section::Predictor, &["predictor."]),
    ],
    small_input: CIFAR,
    cifar_padding: 2,
    ..USUAL
};
