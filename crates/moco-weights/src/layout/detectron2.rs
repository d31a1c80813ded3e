//! detectron2's ResNets, as facebookresearch/moco's `convert-pretrain-to-detectron2.py` names them.
//! Its own ImageNet weights (MSRA's) stride in the first convolution of a bottleneck and take blue,
//! green and red, which no tensor tells.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, only};

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Detectron2,
    detect: |_, keys| RULE.has_backbone(keys),
    parts: &[only(&["", "backbone.", "backbone.bottom_up."])],
    namings: &[Naming::Detectron2],
    ..USUAL
};
