//! lightly: a `Sequential` of a ResNet's children as `backbone`, so that layers have numbers, and heads
//! `projection_head.layers.*`, `prediction_head.layers.*`; momentum copies end in `_momentum`.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, beside, part};
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Lightly,
    detect: |_, keys| {
        ["backbone.", "teacher_backbone.", ""]
            .iter()
            .any(|prefix| Naming::Numbered.is_at(keys, prefix))
            || Naming::Timm.is_at(keys, "backbone.vit.")
    },
    parts: &[
        part("backbone", &["backbone.", "backbone.vit.", "teacher_backbone.", ""]),
        part("backbone_momentum", &["backbone_momentum.", "student_backbone."]),
    ],
    namings: &[Naming::Numbered, Naming::Timm],
    heads: &[
        beside(Section::Head, &["projection_head.layers.", "projection_head_momentum.layers."]),
        beside(Section::Predictor, &["prediction_head.layers."]),
    ],
    ..USUAL
};
