//! An encoder that this program wrote: `backbone.*` and `head.*`, with its configuration in the file's
//! texts.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{At, Head, Part, Rule, Style, USUAL};
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Ours,
    detect: |checkpoint, _| checkpoint.metadata.contains_key("moco.version"),
    parts: &[
        Part { name: "", prefixes: &["backbone.luma."], second: &["backbone.chroma."] },
        Part { name: "", prefixes: &["backbone.", ""], second: &[] },
    ],
    namings: &[Naming::Torchvision, Naming::Timm],
    heads: &[Head { section: Section::Head, at: At::Beside(&["head."]), style: Style::Ours }],
    ..USUAL
};
