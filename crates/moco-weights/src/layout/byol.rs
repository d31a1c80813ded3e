//! BYOL in PyTorch: codes that save two networks, `online` and `target`, under one of several names.

use super::LayoutName;
use super::naming::Naming;
use super::rule::{Rule, USUAL, part};

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Byol,
    detect: |_, keys| RULE.has_backbone(keys),
    parts: &[
        part(
            "online",
            &[
                "online_encoder.net.",
                "online_encoder.",
                "online_network.encoder.",
                "online_network.",
                "online_network_state_dict.encoder.",
                "online_network_state_dict.",
                "online.",
            ],
        ),
        part(
            "target",
            &[
                "target_encoder.net.",
                "target_encoder.",
                "target_network.encoder.",
                "target_network.",
                "target_network_state_dict.encoder.",
                "target_network_state_dict.",
                "target.",
            ],
        ),
    ],
    namings: &[Naming::Torchvision, Naming::Numbered],
    ..USUAL
};
