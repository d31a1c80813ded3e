//! facebookresearch/dinov2: timm-like names with `mask_token`, `register_tokens`, LayerScale
//! (`blocks.0.ls1.gamma`), perhaps blocks in chunks (`blocks.0.11.norm1`), and SwiGLU as `w12`, `w3`.
//! Positions are interpolated with an offset of 0.1, and in the published models with registers
//! with antialiasing instead.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, part};
use crate::architecture::Interpolation;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::DinoV2,
    detect: |_, keys| {
        let marks = |prefix: &str| {
            keys.tensors.keys().any(|name| {
                name.strip_prefix(prefix)
                    .is_some_and(|name| name.starts_with("blocks.") && name.ends_with(".ls1.gamma"))
            }) && ["mask_token", "register_tokens"]
                .iter()
                .any(|token| keys.has(&format!("{prefix}{token}")))
        };
        ["", "teacher.backbone.", "student.backbone.", "backbone."].iter().any(|at| marks(at))
    },
    parts: &[
        part("teacher", &["teacher.backbone.", "backbone.", ""]),
        part("student", &["student.backbone."]),
    ],
    namings: &[Naming::Timm],
    licence: Some("Apache-2.0"),
    interpolation: Interpolation::BicubicNudged { nudge: 0.1 },
    ..USUAL
};
