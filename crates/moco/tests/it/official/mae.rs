//! MAE against facebookresearch/mae.

use super::Official;
use crate::device::device;
use moco::config::{DecayScope, RuleConfig};
use moco::layout::Layout;
use moco::methods::MaeConfig;
use moco::methods::{Mae, Method};
use moco::models::mae::Masking;
use moco::models::vit::{Positions, VitConfig, VitInit};
use moco::models::{Architecture, NetworkSpec};
use moco::optim::Optimizer;

fn check(name: &str) {
    let official = Official::open(name);
    let ratio = official.setting("mask_ratio");
    let config = MaeConfig {
        mask_ratio: ratio,
        norm_pixels: official.facts["hyper_parameters"]["norm_pix_loss"] == true,
        decoder_width: 16,
        decoder_depth: 2,
        decoder_heads: 2,
    };
    let vit = VitConfig {
        positions: Positions::SincosColumnFirst,
        init: VitInit::Mae,
        ..VitConfig::of_size([24, 2, 3], 4, [16, 16])
    };
    let network = NetworkSpec { architecture: Architecture::Vit(vit), seed: 0 };
    let mut method = Mae::new(&config, &network, &device());
    official.start(&mut method, Layout::Mae);
    let rule = RuleConfig::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
    let mut adamw = Optimizer::of_rule(rule, DecayScope::Matrices, None, method.student());
    let noise = official.tensors.f32("noise");
    official.train(
        &mut method,
        &mut adamw,
        |_| 0.05,
        |method, step| {
            let masking = Masking::from_noise(&noise[step * 6 * 16..][..6 * 16], 16, ratio);
            method.loss_with(&official.view("view", step), &masking)
        },
    );
    official.compare(&mut method, Layout::Mae, &[]);
}

#[test]
fn mae_on_pixels_is_the_published_code() {
    check("mae");
}

#[test]
fn mae_on_normalised_pixels_is_the_published_code() {
    check("mae_norm_pix");
}
