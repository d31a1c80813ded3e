//! facebookresearch/mae: the encoder under timm's names, the decoder as `decoder_*` and `mask_token`.
//! Published files have the encoder only; its table of sines and cosines gives them away.

use super::LayoutName;
use super::naming::Naming;
use super::positions_of;
use super::rule::{At, CC_BY_NC, Head, Rule, Style, USUAL};
use crate::architecture::Positions;
use crate::weights::Section;

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Mae,
    detect: |_, keys| {
        Naming::Timm.is_at(keys, "")
            && (keys.has("decoder_embed.weight")
                || positions_of(keys, "pos_embed") == Some(Positions::SincosColumnFirst))
    },
    namings: &[Naming::Timm],
    heads: &[Head { section: Section::Decoder, at: At::Beside(&[""]), style: Style::Decoder }],
    licence: CC_BY_NC,
    ..USUAL
};
