//! HobbitLong/CMC: `model.encoder.module.l_to_ab.*` on L and `ab_to_l.*` on ab, memory banks in
//! `contrast`. The stem has 64 channels whatever the width of the stages.

use super::LayoutName;
use super::rule::{At, Head, Part, Rule, Style, USUAL};
use crate::weights::{Input, Section};

/// Midpoint and half range of each channel, as its code computes them.
const LAB: Input = Input::Lab { mean: [50.0, 6.025, -6.6895], std: [50.0, 92.208, 101.1675] };

pub(super) const RULE: Rule = Rule {
    layout: LayoutName::Cmc,
    detect: |_, keys| keys.any("encoder.l_to_ab.") || keys.any("l_to_ab."),
    parts: &[Part {
        name: "",
        prefixes: &["encoder.l_to_ab.", "l_to_ab."],
        second: &["encoder.ab_to_l.", "ab_to_l."],
    }],
    heads: &[
        Head { section: Section::Head, at: At::Within("fc."), style: Style::Sequential },
        Head {
            section: Section::SecondHead,
            at: At::Beside(&["encoder.ab_to_l.fc."]),
            style: Style::Sequential,
        },
    ],
    input: LAB,
    small_input: LAB,
    ..USUAL
};
