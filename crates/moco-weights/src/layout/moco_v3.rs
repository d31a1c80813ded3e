//! facebookresearch/moco-v3: `module.base_encoder.*`, `module.momentum_encoder.*`,
//! `module.predictor.*`. The projector is a ResNet's `fc` and a transformer's `head`. ViT-S has 12
//! attention heads of 32 channels (Chen et al. 2021, arXiv 2104.02057, Table 2).

use super::LayoutName;
use super::naming::Naming;
use super::rule::{CC_BY_NC, Rule, USUAL, beside, head, part};
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::MocoV3,
    detect: |_, keys| keys.any("base_encoder."),
    parts: &[
        part("base_encoder", &["base_encoder."]),
        part("momentum_encoder", &["momentum_encoder."]),
    ],
    namings: &[Naming::Torchvision, Naming::Timm],
    heads: &[head("fc."), head("head."), beside(Section::Predictor, &["predictor."])],
    licence: CC_BY_NC,
    attention: &[(384, 12)],
    ..USUAL
};
