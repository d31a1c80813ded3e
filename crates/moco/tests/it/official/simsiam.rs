//! SimSiam against facebookresearch/simsiam.

use super::{Official, at};
use crate::device::device;
use crate::golden::resnet18_w4;
use moco::batch::Batch;
use moco::config::{DecayScope, RuleConfig};
use moco::layout::Layout;
use moco::methods::SimSiamConfig;
use moco::methods::{Method, SimSiam};
use moco::optim::Optimizer;

fn check(name: &str) {
    let official = Official::open(name);
    let config = SimSiamConfig {
        dim: official.setting("dim") as usize,
        hidden: official.setting("pred_dim") as usize,
        projector_hidden: 32,
        projector_layers: 3,
        fixed_predictor_lr: true,
        stop_gradient: true,
    };
    let mut method = SimSiam::new(&config, &resnet18_w4(1), &device());
    official.start(&mut method, Layout::SimSiam);
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    let decay = official.setting("weight_decay");
    official.train(
        &mut method,
        &mut sgd,
        |_| decay,
        |method, step| {
            let views = ["view1", "view2"].map(|name| official.view(name, step)).into();
            method.loss(&Batch { indices: (0..8).collect(), views }, &at(step))
        },
    );
    official.compare(&mut method, Layout::SimSiam, &[]);
}

#[test]
fn simsiam_is_the_published_code() {
    check("simsiam");
}

#[test]
fn simsiam_from_zero_residuals_is_the_published_code() {
    check("simsiam_zero_init");
}
