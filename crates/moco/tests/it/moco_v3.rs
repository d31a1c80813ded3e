//! MoCo v3 against PyTorch, its closed form and the order of its step.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4, tensor};
use crate::trajectory::{self, BATCH, at, batch};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::loss::{info_nce_in_batch, l2_normalize};
use moco::methods::MocoV3Config;
use moco::methods::{Method, MocoV3};
use moco::models::vit::{PatchStem, Positions};
use moco::models::{Architecture, NetworkSpec, VitConfig};
use moco::nn::{for_each_param, tensors};
use moco::optim::Optimizer;

fn config() -> MocoV3Config {
    MocoV3Config { dim: 16, hidden: 24, temperature: 1.0, momentum: 0.9, momentum_cosine: true }
}

fn method(config: &MocoV3Config) -> MocoV3 {
    MocoV3::new(config, &resnet18_w4(1), BATCH, &device())
}

/// A matrix product of unit vectors and a softmax in f32: torch's own f32 is within 1e-6.
#[test]
fn loss_and_gradients_match_torch() {
    let golden = Golden::open("moco_v3_loss");
    for (name, temperature) in [("t020", 0.2), ("t100", 1.0)] {
        let [q1, q2] = ["q1", "q2"].map(|q| golden.tensor::<2>(q).autodiff().require_grad());
        let term = |q: &Tensor<2>, k: &str| {
            let (q, k) = (l2_normalize(q.clone()), l2_normalize(golden.tensor(k)));
            info_nce_in_batch(q, k, temperature).loss * (2.0 * temperature)
        };
        let loss = term(&q1, "k2") + term(&q2, "k1");
        assert_close(loss.clone(), &golden, &format!("{name}.loss"), 5e-6);
        let gradients = loss.backward();
        let grad = |q: &Tensor<2>| q.grad(&gradients).unwrap();
        assert_close(grad(&q1), &golden, &format!("{name}.grad_q1"), 5e-6);
        assert_close(grad(&q2), &golden, &format!("{name}.grad_q2"), 5e-6);
    }
}

/// All embeddings equal give `4 T ln B`.
#[test]
fn a_collapsed_network_gives_the_closed_form() {
    for (batch, temperature) in [(2, 1.0), (8, 0.2), (100, 1.0)] {
        let q = tensor([0.6, 0.8].repeat(batch), [batch, 2]);
        let term = to_host(info_nce_in_batch(q.clone(), q, temperature).loss)[0];
        let expected = (batch as f64).ln();
        assert!((f64::from(term) - expected).abs() < 2e-6, "{term} is not {expected}");
    }
    let config = MocoV3Config { temperature: 0.2, ..config() };
    let collapse = method(&config).expectation().collapse.unwrap();
    assert!((collapse - 4.0 * 0.2 * (BATCH as f64).ln()).abs() < 1e-12);
}

/// The whole method on equal images: BatchNorm makes all embeddings equal (to 0 by 0), so that
/// both terms are 2 T ln B.
#[test]
fn equal_images_give_the_collapse_loss() {
    let config = config();
    let mut method = method(&config);
    let image = tensor((0..432).map(|i| (i as f32 * 0.7).sin()).collect(), [1, 12, 12, 3]);
    let views = vec![image.clone().repeat_dim(0, BATCH), image.repeat_dim(0, BATCH)];
    let batch = moco::batch::Batch { indices: (0..BATCH).collect(), views };
    let loss = f64::from(to_host(method.loss(&batch, &at(0)).loss)[0]);
    let expected = method.expectation().collapse.unwrap();
    assert!((loss - expected).abs() < 1e-5, "{loss} is not {expected}");
}

#[test]
fn resnet_trajectory_matches_torch() {
    let golden = Golden::open("moco_v3_resnet_trajectory");
    let mut method = method(&config());
    let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Outside };
    let mut lars = Optimizer::of_rule(rule, DecayScope::Matrices, None, method.student());
    let absent = ["predictor.1.running_mean"];
    trajectory::check(&mut method, &mut lars, &golden, 1e-3, [5e-6, 1e-4], &absent);
}

/// Other heads, fixed positions, a patch projection at rest; AdamW decays all that is trained.
#[test]
fn vit_trajectory_matches_torch() {
    let golden = Golden::open("moco_v3_vit_trajectory");
    let vit = VitConfig {
        positions: Positions::SincosRowFirst,
        stem: PatchStem::FrozenLinear,
        ..VitConfig::of_size([24, 2, 3], 4, [16, 16])
    };
    let network = NetworkSpec { architecture: Architecture::Vit(vit), seed: 0 };
    let config = MocoV3Config { hidden: 20, temperature: 0.2, ..config() };
    let mut method = MocoV3::new(&config, &network, BATCH, &device());
    let rule = RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-4 };
    let mut adamw = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    let absent = ["predictor.1.running_mean"];
    trajectory::check(&mut method, &mut adamw, &golden, 0.1, [5e-6, 1e-4], &absent);
}

/// The keys come from the average of before the step: with a momentum of 0 both encoders have the
/// same parameters once the loss is computed, and differ after the optimiser has moved one.
#[test]
fn the_average_is_taken_before_the_keys_and_once_per_step() {
    let golden = Golden::open("moco_v3_resnet_trajectory");
    let config = MocoV3Config { momentum: 0.0, momentum_cosine: false, ..config() };
    let mut method = method(&config);
    for_each_param(method.student(), |_, param| {
        let moved: Tensor<1> = param.flat() * 1.5;
        param.set_flat(moved);
    });
    let differs = |method: &mut MocoV3| {
        let all = tensors(method);
        let weight = |net: &str| to_host(all[&format!("{net}.head.1.weight")].clone());
        weight("key") != weight("query.encoder")
    };
    let mut later = at(0);
    later.part = 1;
    method.loss(&batch(&golden, 0), &later);
    assert!(differs(&mut method), "a later part leaves the key encoder as it is");
    method.loss(&batch(&golden, 0), &at(0));
    assert!(!differs(&mut method));
}

#[test]
fn no_gradient_reaches_the_keys() {
    let golden = Golden::open("moco_v3_resnet_trajectory");
    let mut method = method(&config());
    let gradients = method.loss(&batch(&golden, 0), &at(0)).loss.backward();
    for_each_param(&mut method, |name, param| {
        assert_eq!(param.gradient(&gradients).is_some(), name.starts_with("query."), "{name}");
    });
}
