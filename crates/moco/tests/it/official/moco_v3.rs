//! MoCo v3 against facebookresearch/moco-v3.

use super::{Official, at, on_two_ranks};
use crate::device::device;
use crate::golden::{assert_close, difference, resnet18_w4, tensor};
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::layout::Layout;
use moco::loss::{info_nce_among, info_nce_in_batch, l2_normalize};
use moco::methods::MocoV3Config;
use moco::methods::{Method, MocoV3};
use moco::models::vit::{PatchStem, Positions};
use moco::models::{Architecture, NetworkSpec, VitConfig};
use moco::nn::gather;
use moco::optim::Optimizer;

fn method(official: &Official, network: &NetworkSpec) -> MocoV3 {
    let config = MocoV3Config {
        dim: official.setting("dim") as usize,
        hidden: official.setting("mlp_dim") as usize,
        temperature: official.setting("T"),
        momentum: 0.9,
        momentum_cosine: true,
    };
    MocoV3::new(&config, network, 8, &device())
}

fn batch(official: &Official, step: usize) -> Batch {
    let views: Vec<_> = ["view1", "view2"].map(|name| official.view(name, step)).into();
    Batch { indices: (0..8).collect(), views }
}

#[test]
fn resnet_with_lars_is_the_published_code() {
    let official = Official::open("moco_v3_resnet_lars");
    let layout = Layout::MocoV3 { vit: false };
    let mut method = method(&official, &resnet18_w4(1));
    official.start(&mut method, layout);
    let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Outside };
    let mut lars = Optimizer::of_rule(rule, DecayScope::Matrices, None, method.student());
    official.train(
        &mut method,
        &mut lars,
        |_| 1e-3,
        |method, step| method.loss(&batch(&official, step), &at(step)),
    );
    official.compare(&mut method, layout, &[]);
}

#[test]
fn transformer_with_adamw_is_the_published_code() {
    let official = Official::open("moco_v3_vit_adamw");
    let layout = Layout::MocoV3 { vit: true };
    let vit = VitConfig {
        positions: Positions::SincosRowFirst,
        stem: PatchStem::FrozenLinear,
        ..VitConfig::of_size([24, 2, 3], 4, [16, 16])
    };
    let network = NetworkSpec { architecture: Architecture::Vit(vit), seed: 0 };
    let mut method = method(&official, &network);
    official.start(&mut method, layout);
    let rule = RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let mut adamw = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    official.train(
        &mut method,
        &mut adamw,
        |_| 0.1,
        |method, step| method.loss(&batch(&official, step), &at(step)),
    );
    official.compare(&mut method, layout, &[]);
}

/// One term on two processes, whose keys are negatives for one another: the loss and the gradient
/// of the whole are the means over ranks.
#[test]
fn the_loss_of_two_ranks_is_that_of_the_whole_batch() {
    let official = Official::open("moco_v3_loss_two_ranks");
    for (case, temperature) in [(0, 0.2), (1, 1.0)] {
        let flat = |name: &str| -> Tensor<2> {
            official.tensors.tensor::<3>(&format!("{case}.{name}")).flatten(0, 1)
        };
        let q = flat("q").autodiff().require_grad();
        let (unit, k) = (l2_normalize(q.clone()), l2_normalize(flat("k")));
        let loss = info_nce_in_batch(unit, k, temperature).loss * (2.0 * temperature);
        let expected = official.tensors.values(&format!("loss.{case}"));
        let mean = expected.iter().sum::<f64>() / expected.len() as f64;
        let found = f64::from(to_host(loss.clone())[0]);
        assert!((found - mean).abs() / mean < 2e-6, "{found} is not {mean}");
        let gradient = to_host(q.grad(&loss.backward()).unwrap() * 2.0);
        let n = gradient.len();
        assert_close::<1>(
            tensor(gradient, [n]),
            &official.tensors,
            &format!("{case}.grad_q"),
            5e-6,
        );
    }
}

/// The same on two ranks: each has its own loss and, with the other's keys, its own gradient.
#[test]
fn each_rank_has_its_published_loss_and_gradient() {
    on_two_ranks(|peers| {
        let official = Official::open("moco_v3_loss_two_ranks");
        for (case, temperature) in [(0, 0.2), (1, 1.0)] {
            let own = |name: &str| -> Tensor<2> {
                let all = official.tensors.tensor::<3>(&format!("{case}.{name}"));
                let [_, n, dim] = all.dims();
                all.narrow(0, peers.rank(), 1).reshape([n, dim])
            };
            let q = own("q").autodiff().require_grad();
            let keys = gather(l2_normalize(own("k")), peers, "keys");
            let contrast = info_nce_among(l2_normalize(q.clone()), keys, temperature, peers);
            let loss = contrast.loss * (2.0 * temperature);
            let expected = official.tensors.values(&format!("loss.{case}"))[peers.rank()];
            let found = f64::from(to_host(loss.clone())[0]);
            assert!((found - expected).abs() / expected < 2e-6, "{found} is not {expected}");
            let gradient = to_host(q.grad(&loss.backward()).unwrap());
            let expected: Vec<f64> = to_host(own("grad_q")).into_iter().map(f64::from).collect();
            let off = difference(&gradient, &expected);
            assert!(off < 5e-6, "case {case}: the gradient is off by {off:.1e}");
        }
    });
}
