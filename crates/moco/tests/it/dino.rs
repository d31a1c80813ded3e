//! DINO against PyTorch: head, five steps with small crops, and the ablation of the centre.

use crate::device::device;
use crate::golden::{Golden, assert_close, set_params, set_tensors, stored_batch, tensor};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, RuleConfig};
use moco::loss::cross_entropy_of_views;
use moco::methods::DinoConfig;
use moco::methods::{Dino, Method, Step};
use moco::models::vit::VitConfig;
use moco::models::{Architecture, DinoHead, NetworkSpec};
use moco::nn::{Leaf, Mode, for_each_leaf, for_each_param, tensors};
use moco::optim::{NamedGradients, Optimizer};
use moco::rng::{Purpose, stream};

const STEPS: usize = 5;

fn config(norm_last_layer: bool) -> DinoConfig {
    DinoConfig {
        outputs: 20,
        hidden: 28,
        bottleneck: 12,
        head_norm: false,
        norm_last_layer,
        student_temperature: 0.1,
        teacher_temperature_start: 0.04,
        teacher_temperature: 0.07,
        teacher_temperature_epochs: 3,
        momentum: 0.9,
        center: true,
        center_momentum: 0.9,
        freeze_last_layer_epochs: 1,
    }
}

/// Positions are interpolated for the small crops with DINO's nudge.
fn network() -> NetworkSpec {
    let vit = VitConfig { position_nudge: 0.1, ..VitConfig::of_size([24, 2, 3], 4, [16, 16]) };
    NetworkSpec { architecture: Architecture::Vit(vit), seed: 0 }
}

/// Epochs of two steps each: the last layer rests for the first.
fn at(index: usize) -> Step {
    Step { index, total: STEPS, per_epoch: 2, seed: 0, part: 0 }
}

fn batch(golden: &Golden, step: usize) -> Batch {
    stored_batch(golden, step, &["view1", "view2", "view3", "view4"])
}

/// The script's name of one of ours: its head counts the GELUs among the layers.
fn script_name(name: &str) -> String {
    (0..3).rev().fold(name.to_owned(), |name, i| {
        name.replace(&format!("head.layers.{i}."), &format!("head.mlp.{}.", 2 * i))
            .replace(&format!("layers.{i}."), &format!("mlp.{}.", 2 * i))
    })
}

/// The loss, its gradient, and the centre that it leaves behind. torch's own f32 is within 3e-7 of
/// its f64 (golden/MANIFEST.json); ours sums in another order.
#[test]
fn loss_and_gradient_match_torch() {
    let golden = Golden::open("dino_loss");
    let mut dino = Dino::new(&config(true), &network(), &device());
    set_tensors(&mut dino, |name| (name == "center").then(|| golden.f32("centre")));
    let s = golden.tensor::<3>("student").autodiff().require_grad();
    let t: Tensor<3> = golden.tensor("teacher");
    let (loss, _) = dino.loss_with(s.clone().flatten(0, 1), t.flatten(0, 1), 0);
    assert_close(loss.clone(), &golden, "loss", 2e-6);
    assert_close(s.grad(&loss.backward()).unwrap(), &golden, "grad_student", 2e-6);
    dino.after_update(&at(0));
    assert_close(tensors(&mut dino)["center"].clone(), &golden, "centre_after", 1e-6);
}

/// With n small crops there are 2 (2 + n) - 2 pairs. Target i is all on output i, so
/// that the gradient at row v, column i is the weight of the pair of target i and view v.
#[test]
fn every_pair_of_two_views_counts_once() {
    let targets = [[1.0, 0.0], [0.0, 1.0]].map(|q| tensor(q.to_vec(), [1, 2]));
    for small in [0, 2, 8] {
        let views = 2 + small;
        let log_p = Tensor::<2>::zeros([views, 2], &device()).autodiff().require_grad();
        let gradients = cross_entropy_of_views(&targets, log_p.clone()).backward();
        let weight = -1.0 / (2 * (2 + small) - 2) as f32;
        let mut expected = vec![weight; 2 * views];
        (expected[0], expected[3]) = (0.0, 0.0); // a view is not told what was said of it
        assert_eq!(to_host(log_p.grad(&gradients).unwrap()), expected);
    }
}

/// Outputs without information, of both sides.
#[test]
fn chance_is_the_logarithm_of_the_outputs() {
    let mut dino = Dino::new(&config(true), &network(), &device());
    let logits = |views| Tensor::zeros([3 * views, 20], &device());
    let (loss, _) = dino.loss_with(logits(4), logits(2), 0);
    let chance = dino.expectation().chance;
    assert!((chance - 20f64.ln()).abs() < 1e-12);
    assert!((f64::from(to_host(loss)[0]) - chance).abs() < 1e-6);
}

/// torch's own f32 is up to 7e-7 (loss) and 1.2e-6 (state) away from its f64
/// (golden/MANIFEST.json); ours sums in another order.
fn check_trajectory(name: &str, norm_last_layer: bool) {
    let golden = Golden::open(name);
    let mut dino = Dino::new(&config(norm_last_layer), &network(), &device());
    set_params(&mut dino, |name| {
        let name = script_name(name).replace("teacher.", "student.");
        golden.f32(&format!("initial.{name}"))
    });
    let rule = RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-4 };
    let mut adamw = Optimizer::of_rule(rule, DecayScope::Matrices, Some(0.3), dino.student());
    let (losses, decay) = (golden.values("loss"), golden.values("weight_decay"));
    for (step, lr) in golden.values("lr").into_iter().enumerate() {
        let loss = dino.loss(&batch(&golden, step), &at(step)).loss;
        let found = f64::from(to_host(loss.clone())[0]);
        let off = (found - losses[step]).abs() / losses[step];
        assert!(off < 5e-6, "step {step}: loss {found}, off by {off:.1e}");
        let gradients = NamedGradients::of(dino.student(), &loss.backward());
        let treatment = dino.treatment(&at(step));
        adamw.step(dino.student(), gradients, decay[step], |name| treatment.rate(name, lr, lr));
        dino.after_update(&at(step));

        // The centre moves after the loss.
        let center = to_host(tensors(&mut dino)["center"].clone());
        let expected = &golden.values("centre")[step * 20..][..20];
        let off = crate::golden::difference(&center, expected);
        assert!(off < 5e-6, "step {step}: centre off by {off:.1e}");
    }
    for_each_leaf(&mut dino, |name, leaf| {
        if let Leaf::Param(found) = leaf {
            assert_close(found.flat(), &golden, &format!("final.{}", script_name(name)), 1e-5);
        }
    });
}

#[test]
fn trajectory_matches_torch() {
    check_trajectory("dino_trajectory", true);
}

#[test]
fn trajectory_with_a_free_norm_matches_torch() {
    check_trajectory("dino_trajectory_free_norm", false);
}

#[test]
fn head_matches_torch_with_all_gradients() {
    let golden = Golden::open("dino_head");
    let device = device().autodiff();
    let mut rng = stream(0, Purpose::Weights, 0);
    let mut head = DinoHead::new(&config(false).head(), 24, 1, &mut rng, &device);
    set_params(&mut head, |name| golden.f32(&format!("state.{}", script_name(name))));
    let x = golden.tensor::<2>("x").autodiff().require_grad();
    let z = head.bottleneck(x.clone(), Mode::Train);
    let out = head.logits(z);
    assert_close(out.clone(), &golden, "out", 2e-6);
    let gradients = (out * golden.tensor::<2>("cotangent")).sum().backward();
    assert_close(x.grad(&gradients).unwrap(), &golden, "grad_x", 2e-6);
    for_each_param(&mut head, |name, param| {
        let gradient = param.gradient(&gradients).expect("a gradient for every parameter");
        assert_close(gradient, &golden, &format!("grad.{}", script_name(name)), 3e-6);
    });
}

/// The script's name of one of ours where a norm stands between a layer and its GELU.
fn norm_head_name(name: &str) -> String {
    (0..3).fold(name.to_owned(), |name, i| {
        name.replace(&format!("layers.{i}."), &format!("mlp.{}.", 3 * i))
            .replace(&format!("norms.{i}."), &format!("mlp.{}.", 3 * i + 1))
    })
}

/// A BatchNorm takes out what it is shifted by: the biases before it have no gradient but for
/// rounding, which is held against the gradient of the same layer's weights.
#[test]
fn head_with_batch_norm_matches_torch_with_all_gradients() {
    let golden = Golden::open("dino_head_norm");
    let device = device().autodiff();
    let config = DinoConfig { head_norm: true, ..config(false) };
    let mut head =
        DinoHead::new(&config.head(), 24, 1, &mut stream(0, Purpose::Weights, 0), &device);
    set_params(&mut head, |name| golden.f32(&format!("state.{}", norm_head_name(name))));
    let x = golden.tensor::<2>("x").autodiff().require_grad();
    let z = head.bottleneck(x.clone(), Mode::Train);
    let out = head.logits(z);
    assert_close(out.clone(), &golden, "out", 2e-6);
    let gradients = (out * golden.tensor::<2>("cotangent")).sum().backward();
    assert_close(x.grad(&gradients).unwrap(), &golden, "grad_x", 5e-6);
    for_each_param(&mut head, |name, param| {
        let gradient = param.gradient(&gradients).expect("a gradient for every parameter");
        let name = format!("grad.{}", norm_head_name(name));
        if ["grad.mlp.0.bias", "grad.mlp.3.bias"].contains(&name.as_str()) {
            let largest =
                |values: Vec<f64>| values.into_iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            let weights = largest(golden.values(&name.replace("bias", "weight")));
            let bias = largest(to_host(gradient).into_iter().map(f64::from).collect());
            assert!(bias < 1e-5 * weights, "{name}: {bias:.1e} beside {weights:.1e}");
        } else {
            assert_close(gradient, &golden, &name, 5e-6);
        }
    });
    for_each_leaf(&mut head, |name, leaf| {
        if let Leaf::Buffer(found) = leaf {
            assert_close(found.flat(), &golden, &format!("after.{}", norm_head_name(name)), 2e-6);
        }
    });
    let z = head.bottleneck(x, Mode::Eval);
    assert_close(head.logits(z), &golden, "eval_out", 2e-6);
}

#[test]
fn last_layer_rests_and_the_teacher_has_no_gradient() {
    let golden = Golden::open("dino_trajectory");
    let mut dino = Dino::new(&config(true), &network(), &device());
    let last = "head.last_layer.weight_v";
    assert_eq!(dino.treatment(&at(1)).rate(last, 0.1, 0.1), None);
    assert_eq!(dino.treatment(&at(2)).rate(last, 0.1, 0.1), Some(0.1));
    let gradients = dino.loss(&batch(&golden, 0), &at(0)).loss.backward();
    for_each_param(&mut dino, |name, param| {
        let reached = param.gradient(&gradients).is_some();
        assert_eq!(reached, name.starts_with("student."), "{name}");
    });
}

/// Entropy of what the teacher says on average over all images, after a short training; at most
/// ln 20 = 3.0, and 0 if it says the same of each.
fn entropy_after_training(center: bool) -> f64 {
    let golden = Golden::open("dino_trajectory");
    let config = DinoConfig {
        center,
        teacher_temperature_start: 0.04,
        teacher_temperature: 0.04,
        freeze_last_layer_epochs: 0,
        ..config(true)
    };
    let mut dino = Dino::new(&config, &network(), &device());
    let rule = RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let mut adamw = Optimizer::of_rule(rule, DecayScope::Matrices, None, dino.student());
    for step in 0..60 {
        let at = Step { index: step, total: 60, per_epoch: 60, seed: 0, part: 0 };
        let loss = dino.loss(&batch(&golden, step % STEPS), &at).loss;
        let gradients = NamedGradients::of(dino.student(), &loss.backward());
        adamw.step(dino.student(), gradients, 0.0, |_| Some(1e-3));
        dino.after_update(&at);
    }
    let center_row = tensors(&mut dino)["center"].clone().reshape([1, 20]);
    let mut mean = [0.0; 20];
    for step in 0..STEPS {
        let [_, logits] = dino.forward_teacher(&batch(&golden, step).views[..2]);
        let logits = if center { logits - center_row.clone() } else { logits };
        let p = to_host(softmax(logits / 0.04, 1).mean_dim(0));
        mean.iter_mut().zip(p).for_each(|(mean, p)| *mean += f64::from(p) / STEPS as f64);
    }
    mean.iter().map(|p| -p * (p + 1e-20).ln()).sum()
}

/// Caron et al. 2021, Sec. 5.3 and Fig. 7: without the centre one output wins for every image.
#[test]
fn without_the_centre_one_output_wins() {
    let (with, without) = (entropy_after_training(true), entropy_after_training(false));
    assert!(without < 0.1, "an entropy of {without:.3} without the centre");
    assert!(with > 1.0, "an entropy of {with:.3} with the centre, {without:.3} without");
}
