//! BYOL against PyTorch, and the order of its step.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4, tensor};
use crate::trajectory::{self, STEPS, at, batch};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::loss::normalized_distance;
use moco::methods::ByolConfig;
use moco::methods::{Byol, Method};
use moco::nn::{for_each_param, tensors};
use moco::optim::Optimizer;
use moco::train::{Rates, learn};
use std::collections::BTreeMap;

fn method(momentum: f64) -> Byol {
    let config = ByolConfig { dim: 16, hidden: 24, momentum, momentum_cosine: true };
    Byol::new(&config, &resnet18_w4(1), &device())
}

fn lars(method: &mut Byol) -> Optimizer {
    let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Outside };
    Optimizer::of_rule(rule, DecayScope::Matrices, None, method.student())
}

/// Unit vectors and their distances in f32: torch's own f32 is within 3e-7.
#[test]
fn loss_and_gradients_match_torch() {
    let golden = Golden::open("byol_loss");
    let [q1, q2] = ["q1", "q2"].map(|q| golden.tensor::<2>(q).autodiff().require_grad());
    let loss = normalized_distance(q1.clone(), golden.tensor("z2"))
        + normalized_distance(q2.clone(), golden.tensor("z1"));
    assert_close(loss.clone(), &golden, "loss", 2e-6);
    let gradients = loss.backward();
    assert_close(q1.grad(&gradients).unwrap(), &golden, "grad_q1", 2e-6);
    assert_close(q2.grad(&gradients).unwrap(), &golden, "grad_q2", 2e-6);
}

/// Each term is 2 - 2 cos, 0..=4, whatever the lengths.
#[test]
fn distances_are_those_of_directions() {
    let q = tensor(vec![3.0, 0.0], [1, 2]);
    let cases = [([5.0, 0.0], 0.0), ([0.0, 0.1], 2.0), ([-2.0, 0.0], 4.0), ([3.0, 4.0], 0.8)];
    for (z, expected) in cases {
        let distance = to_host(normalized_distance(q.clone(), tensor(z.to_vec(), [1, 2])))[0];
        assert!((distance - expected).abs() < 1e-6, "{z:?}: {distance} is not {expected}");
    }
}

#[test]
fn trajectory_matches_torch() {
    let golden = Golden::open("byol_trajectory");
    let mut method = method(0.9);
    let mut lars = lars(&mut method);
    trajectory::check(&mut method, &mut lars, &golden, 1e-3, [5e-6, 2e-5], &[]);
}

fn params(method: &mut Byol, of: &str) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    for_each_param(method, |name, param| {
        if let Some(name) = name.strip_prefix(of) {
            all.insert(name.to_owned(), to_host(param.flat()));
        }
    });
    all
}

/// The target moves after the optimiser, so with a momentum of 0 it is the online
/// network of after the step, in parameters; its BatchNorm statistics are its own.
#[test]
fn the_target_follows_the_updated_network() {
    let golden = Golden::open("byol_trajectory");
    let mut method = method(0.0);
    let mut lars = lars(&mut method);
    trajectory::start(&mut method, &golden);
    let before = params(&mut method, "target.");
    let rates = Rates { lr: 0.5, fixed_lr: 0.5, weight_decay: 0.0 };
    learn(&mut method, &mut lars, batch(&golden, 0), at(0), &rates, 1).unwrap();
    let target = params(&mut method, "target.");
    assert_eq!(target, params(&mut method, "online.encoder."));
    assert_ne!(target, before);
    let all = tensors(&mut method);
    let mean = |net: &str| to_host(all[&format!("{net}.head.0.norm.running_mean")].clone());
    // Both saw the same views with the same weights.
    assert_eq!(mean("target"), mean("online.encoder"));
    method.after_update(&at(1));
    assert_eq!(mean("target"), mean("online.encoder"));
}

/// At the end of the schedule the momentum is 1.
#[test]
fn the_target_comes_to_rest() {
    let golden = Golden::open("byol_trajectory");
    let mut method = method(0.9);
    trajectory::start(&mut method, &golden);
    for_each_param(method.student(), |_, param| {
        let doubled: Tensor<1> = param.flat() * 2.0;
        param.set_flat(doubled);
    });
    let before = params(&mut method, "target.");
    method.after_update(&at(STEPS));
    assert_eq!(params(&mut method, "target."), before);
    method.after_update(&at(0));
    assert_ne!(params(&mut method, "target."), before);
}

#[test]
fn no_gradient_reaches_the_target() {
    let golden = Golden::open("byol_trajectory");
    let mut method = method(0.9);
    let gradients = method.loss(&batch(&golden, 0), &at(0)).loss.backward();
    for_each_param(&mut method, |name, param| {
        let expected = name.starts_with("online.");
        assert_eq!(param.gradient(&gradients).is_some(), expected, "{name}");
    });
}
