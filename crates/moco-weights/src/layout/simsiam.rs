//! facebookresearch/simsiam: `module.encoder.*` with the projector `fc`, and `module.predictor.*`.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{CC_BY_NC, Rule, USUAL, beside, head, only};
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::SimSiam,
    detect: |_, keys| {
        Naming::Torchvision.is_at(keys, "encoder.")
            && keys.any("encoder.fc.0.")
            && keys.any("predictor.")
    },
    parts: &[only(&["encoder."])],
    heads: &[head("fc."), beside(Section::Predictor, &["predictor."])],
    licence: CC_BY_NC,
    ..USUAL
};
