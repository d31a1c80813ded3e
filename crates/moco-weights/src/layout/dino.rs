//! facebookresearch/dino: `student.module.backbone.*`, `teacher.backbone.*` with heads, or the
//! teacher's backbone alone under timm's names. The alone one differs from timm's files in that torch
//! wrote it and that it has no head; what depends on it is the interpolation of positions.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{At, Head, Rule, Style, USUAL, part};
use crate::architecture::Interpolation;
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Dino,
    detect: |checkpoint, keys| {
        let both = keys.any("teacher.backbone.") || keys.any("student.backbone.");
        let alone = Naming::Timm.is_at(keys, "")
            && checkpoint.format.starts_with("PyTorch")
            && keys.has("norm.weight")
            && !keys.any("head.");
        both || alone
    },
    parts: &[
        part("teacher", &["teacher.backbone.", "teacher.", ""]),
        part("student", &["student.backbone.", "student."]),
    ],
    namings: &[Naming::Timm, Naming::Torchvision],
    heads: &[Head {
        section: Section::Head,
        at: At::Beside(&["teacher.head.", "student.head."]),
        style: Style::Dino,
    }],
    licence: Some("Apache-2.0"),
    interpolation: Interpolation::BicubicNudged { nudge: 0.1 },
    ..USUAL
};
