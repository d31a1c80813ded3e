//! facebookresearch/swav: a ResNet with `projection_head` and `prototypes` at the top. Its `conv1` has
//! a padding of 2 behind one of 1, which is torchvision's 3. With several heads the prototypes are
//! `prototypes.prototypes0` and so on; these are left.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{At, CC_BY_NC, Head, Rule, Style, USUAL, beside};
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::SwAv,
    detect: |_, keys| {
        Naming::Torchvision.is_at(keys, "")
            && (keys.any("projection_head.") || keys.any("prototypes."))
    },
    heads: &[
        beside(Section::Head, &["projection_head."]),
        Head { section: Section::Prototypes, at: At::Beside(&["prototypes."]), style: Style::Bare },
    ],
    licence: CC_BY_NC,
    ..USUAL
};
