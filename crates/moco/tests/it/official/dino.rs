//! DINO against facebookresearch/dino.

use super::{Official, at, on_two_ranks};
use crate::device::device;
use moco::batch::Batch;
use moco::config::{DecayScope, RuleConfig};
use moco::layout::Layout;
use moco::methods::DinoConfig;
use moco::methods::{Dino, Method};
use moco::models::vit::VitConfig;
use moco::models::{Architecture, NetworkSpec};
use moco::nn::share;
use moco::optim::Optimizer;
use moco_peers::Peers;

const ADAMW: RuleConfig = RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
const SGD: RuleConfig = RuleConfig::Sgd { momentum: 0.9 };

/// The centre starts at 0, the teacher as the student.
fn check(name: &str, rule: RuleConfig, head_norm: bool) {
    check_among(name, rule, head_norm, Peers::SOLO);
}

fn check_among(name: &str, rule: RuleConfig, head_norm: bool, peers: Peers) {
    let official = Official::open(name).among(peers);
    let layout = Layout::Dino { head_norm };
    let norm_last_layer = official.facts["hyper_parameters"]["norm_last_layer"] == true;
    let config = DinoConfig {
        outputs: official.setting("out_dim") as usize,
        hidden: 28,
        bottleneck: 12,
        head_norm,
        norm_last_layer,
        student_temperature: official.setting("student_temp"),
        teacher_temperature_start: 0.04,
        teacher_temperature: 0.07,
        teacher_temperature_epochs: 2,
        momentum: official.tensors.values("momentum")[0],
        center: true,
        center_momentum: official.setting("center_momentum"),
        freeze_last_layer_epochs: official.setting("freeze_last_layer") as usize,
    };
    // Positions are interpolated for the small crops with DINO's nudge.
    let vit = VitConfig { position_nudge: 0.1, ..VitConfig::of_size([24, 2, 3], 4, [16, 16]) };
    let network = NetworkSpec { architecture: Architecture::Vit(vit), seed: 0 };
    let mut method = Dino::new(&config, &network, &device());
    official.start(&mut method, layout);
    share(&mut method, peers);
    let clip = Some(official.setting("clip_grad"));
    let mut optimizer = Optimizer::of_rule(rule, DecayScope::Matrices, clip, method.student());
    let decay = official.tensors.values("wd");
    official.train(
        &mut method,
        &mut optimizer,
        |step| decay[step],
        |method, step| {
            let views: Vec<_> =
                ["view1", "view2", "view3", "view4"].map(|name| official.view(name, step)).into();
            method.loss(&Batch { indices: (0..views[0].dims()[0]).collect(), views }, &at(step))
        },
    );
    // Lengths that are kept at 1 are no parameters of ours.
    let left: &[&str] = if norm_last_layer { &["weight_g"] } else { &[] };
    official.compare(&mut method, layout, left);
}

#[test]
fn dino_with_adamw_is_the_published_code() {
    check("dino_adamw", ADAMW, false);
}

#[test]
fn dino_with_free_lengths_is_the_published_code() {
    check("dino_free_norm_sgd", SGD, false);
}

#[test]
fn dino_with_batch_norm_in_its_head_is_the_published_code() {
    check("dino_bn_head", SGD, true);
}

/// Without BatchNorm two processes are one batch: gradients and centre are means over ranks.
#[test]
fn two_ranks_are_one_batch() {
    check("dino_two_ranks", SGD, false);
}

#[test]
fn two_ranks_are_two_ranks() {
    on_two_ranks(|peers| check_among("dino_two_ranks", SGD, false, peers));
}
