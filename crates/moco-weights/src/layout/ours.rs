//! An encoder that this program wrote: `backbone.*` and `head.*`, or all of a method. The file's texts
//! tell that it is one.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{At, Head, Part, Rule, Style, USUAL, only, part};
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Ours,
    parts: &[
        Part { name: "", prefixes: &["backbone.luma."], second: &["backbone.chroma."] },
        only(&["backbone.", ""]),
        // Of files with all of a method; the first is what an encoder's file has.
        part("query", &["query.backbone."]),
        part("key", &["key.backbone."]),
        part("online", &["online.backbone."]),
        part("target", &["target.backbone."]),
        part("teacher", &["teacher.backbone."]),
        part("student", &["student.backbone.", "student.encoder.backbone."]),
        part("encoder", &["encoder.backbone."]),
        // MAE's `network.encoder`: `network` is taken off as a wrapper.
        part("network", &["encoder."]),
    ],
    namings: &[Naming::Torchvision, Naming::Timm],
    heads: &[Head { section: Section::Head, at: At::Beside(&["head."]), style: Style::Ours }],
    ..USUAL
};
