//! Hugging Face transformers: ViT (and DINO's and MAE's as converted to it), DINOv2, and ResNets.
//! Attention heads and epsilon are in `config.json`.

use super::LayoutName;
use super::keys::Keys;
use super::naming::Naming;
use super::rule::{Rule, USUAL, only};
use crate::weights::Input;

/// The default of transformers' ViT processor.
const HALF: Input = Input::Rgb { mean: [0.5; 3], std: [0.5; 3] };

const PREFIXES: &[&str] =
    &["", "vit.", "dinov2.", "dinov2_with_registers.", "deit.", "backbone.", "encoder."];

fn has_scales(keys: &Keys<'_>) -> bool {
    keys.tensors.keys().any(|name| name.ends_with(".layer_scale1.lambda1"))
}

pub(super) const VIT: Rule = Rule {
    layout: LayoutName::HfVit,
    detect: |_, keys| VIT.has_backbone(keys) && !has_scales(keys),
    parts: &[only(PREFIXES)],
    namings: &[Naming::HuggingFace],
    input: HALF,
    small_input: HALF,
    norm_eps: 1e-12,
    ..USUAL
};

pub(super) const RESNET: Rule = Rule {
    layout: LayoutName::HfResNet,
    detect: |_, keys| RESNET.has_backbone(keys),
    parts: &[only(&["", "resnet."])],
    namings: &[Naming::HuggingFaceResNet],
    ..USUAL
};

pub(super) const DINO_V2: Rule = Rule {
    layout: LayoutName::HfDinoV2,
    detect: |_, keys| DINO_V2.has_backbone(keys) && has_scales(keys),
    parts: &[only(PREFIXES)],
    namings: &[Naming::HuggingFace],
    licence: Some("Apache-2.0"),
    ..USUAL
};
