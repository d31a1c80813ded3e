//! BYOL's parts against deepmind-research: loss, schedules, LARS, perceptron.

use super::simclr::{Parts, after};
use super::{Official, STEPS};
use crate::device::device;
use crate::golden::{assert_close, difference};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::loss::normalized_distance;
use moco::models::{Mlp, MlpSpec};
use moco::nn::{Mode, for_each_param};
use moco::optim::Optimizer;
use moco::rng::{Purpose, stream};
use moco::schedule::cosine;

/// JAX computes in f32 too: both sides round.
#[test]
fn the_loss_is_the_published_one() {
    let official = Official::open("byol_loss");
    let [x, y] =
        ["x", "y"].map(|name| official.tensors.tensor::<2>(name).autodiff().require_grad());
    let loss = normalized_distance(x.clone(), y.clone());
    let expected = official.tensors.values("loss");
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let found = f64::from(to_host(loss.clone())[0]);
    assert!((found - mean).abs() / mean < 2e-6, "{found} is not {mean}");
    let gradients = loss.backward();
    assert_close(x.grad(&gradients).unwrap(), &official.tensors, "grad_x", 5e-6);
    assert_close(y.grad(&gradients).unwrap(), &official.tensors, "grad_y", 5e-6);
}

/// The target's momentum from 0.996 over 100 steps.
#[test]
fn the_momentum_rises_as_published() {
    let official = Official::open("byol_loss");
    let steps = official.tensors.values("schedule.step");
    let expected = official.tensors.values("schedule.ema");
    for (step, expected) in steps.iter().zip(expected) {
        let found = cosine(0.996, 1.0, step / 100.0);
        assert!((found - expected).abs() < 1e-6, "step {step}: {found} is not {expected}");
    }
}

/// Biases and scales of norms have neither decay nor adaptation, or everything has both.
#[test]
fn lars_is_the_published_one() {
    let official = Official::open("byol_lars");
    for (case, scope) in [("filtered", DecayScope::Matrices), ("all", DecayScope::All)] {
        let mut parts = Parts::of(&official);
        let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Outside };
        let mut lars = Optimizer::of_rule(rule, scope, None, &mut parts);
        after(&official, &mut parts, &mut lars, case, 0.01, 2e-6);
    }
    assert_eq!(official.tensors.values("lr").len(), STEPS);
}

/// Linear with bias, BatchNorm, ReLU, Linear without: outputs and all gradients. Haiku keeps other
/// running statistics than torch (debiased, with the biased variance), so evaluation is not compared.
#[test]
fn the_perceptron_is_the_published_one() {
    let official = Official::open("byol_mlp");
    let spec = MlpSpec { hidden_norm: true, output_bias: false, ..MlpSpec::plain(vec![24], 12) };
    let mut mlp = Mlp::new(16, &spec, &mut stream(0, Purpose::Weights, 0), &device().autodiff());
    let values = |kind: &str, name: &str| -> Vec<f32> {
        let named = |theirs: &str| format!("{kind}.projector/{theirs}");
        let turned = |theirs: &str| {
            to_host(official.tensors.tensor::<2>(&named(theirs)).transpose()) // theirs are [in, out]
        };
        match name {
            "0.weight" => turned("linear/w"),
            "0.bias" => official.tensors.f32(&named("linear/b")),
            "0.norm.weight" => official.tensors.f32(&named("batch_norm/scale")),
            "0.norm.bias" => official.tensors.f32(&named("batch_norm/offset")),
            "1.weight" => turned("linear_1/w"),
            other => panic!("no {other} in the published perceptron"),
        }
    };
    crate::golden::set_params(&mut mlp, |name| values("params", name));
    let x = official.tensors.tensor::<2>("x").autodiff().require_grad();
    let out = mlp.forward(x.clone(), Mode::Train);
    assert_close(out.clone(), &official.tensors, "out", 5e-6);
    let cotangent: Tensor<2> = official.tensors.tensor("cotangent");
    let gradients = (out * cotangent).sum().backward();
    assert_close(x.grad(&gradients).unwrap(), &official.tensors, "grad_x", 1e-5);
    let scale = |values: &[f32]| values.iter().fold(0f32, |m, v| m.max(v.abs()));
    let of_weights = scale(&values("grad", "0.weight"));
    for_each_param(&mut mlp, |name, param| {
        let found = to_host(param.gradient(&gradients).expect("a gradient").reshape([-1]));
        let expected = values("grad", name);
        if name == "0.bias" {
            // The BatchNorm behind it takes it out: nothing but rounding, on both sides.
            assert!(scale(&found) < 1e-5 * of_weights && scale(&expected) < 1e-5 * of_weights);
            return;
        }
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let off = difference(&found, &expected);
        assert!(off < 1e-5, "{name}: off by {off:.1e}");
    });
}
