//! facebookresearch/moco, MoCo v1 and v2: `module.encoder_q.*`, `module.encoder_k.*`, `module.queue`.
//! The head is `fc` (v1) or `fc.0`, `fc.2` (v2).

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, head, part};

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Moco,
    detect: |_, keys| keys.any("encoder_q."),
    parts: &[part("encoder_q", &["encoder_q."]), part("encoder_k", &["encoder_k."])],
    namings: &[Naming::Torchvision, Naming::Shortcut, Naming::Timm],
    heads: &[head("fc.")],
    ..USUAL
};
