//! google-research/simclr as converted to PyTorch: `resnet` and `head`, the former of numbered parts
//! (SimCLR v2's converted files) or of torchvision's names. v1's converted files have torchvision's
//! names alone and are told from torchvision's by no key, so that a caller has to say so. The code
//! gives its networks levels in 0..=1 as they are.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, only};
use crate::weights::UNIT;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::SimClr,
    detect: |_, keys| {
        keys.any("resnet.")
            && (Naming::SimClr.is_at(keys, "resnet.") || Naming::Torchvision.is_at(keys, "resnet."))
    },
    parts: &[only(&["resnet.", ""])],
    namings: &[Naming::SimClrSelective, Naming::SimClr, Naming::Torchvision],
    input: UNIT,
    small_input: UNIT,
    ..USUAL
};
