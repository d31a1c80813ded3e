//! SwAV against PyTorch, five steps from the same weights and views.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4, set_params, set_tensors, stored_batch};
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::loss::l2_normalize;
use moco::methods::SwAvConfig;
use moco::methods::{Method, Step, SwAv};
use moco::nn::{Leaf, for_each_leaf, for_each_param};
use moco::optim::{NamedGradients, Optimizer};

const STEPS: usize = 5;
const BATCH: usize = 6;

fn config() -> SwAvConfig {
    SwAvConfig {
        dim: 12,
        hidden: 24,
        prototypes: 10,
        temperature: 0.1,
        epsilon: 0.05,
        sinkhorn_iterations: 3,
        queue: 12,
        queue_from_epoch: 1,
        freeze_prototypes_steps: 2,
    }
}

/// An epoch of one step each, so that the queue starts at the second.
fn at(index: usize) -> Step {
    Step { index, total: STEPS, per_epoch: 1, seed: 0, part: 0 }
}

fn batch(golden: &Golden, step: usize) -> Batch {
    stored_batch(golden, step, &["view1", "view2", "view3", "view4"])
}

/// The script's name of one of ours.
fn script_name(name: &str) -> String {
    name.replace("student.encoder.backbone.", "online.backbone.")
        .replace("student.encoder.head.0.norm.", "online.projector.1.")
        .replace("student.encoder.head.0.", "online.projector.0.")
        .replace("student.encoder.head.1.", "online.projector.3.")
        .replace("student.", "")
}

/// torch's own f32 is up to 4e-7 (loss) and 1e-5 (state, through LARC's division by small norms)
/// away from its f64 (golden/MANIFEST.json); Winograd convolutions round a few times as much.
#[test]
fn trajectory_matches_torch() {
    let golden = Golden::open("swav_trajectory");
    let mut swav = SwAv::new(&config(), &resnet18_w4(1), &device());
    set_params(&mut swav, |name| golden.f32(&format!("initial.{}", script_name(name))));
    let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Larc };
    let mut larc = Optimizer::of_rule(rule, DecayScope::All, None, swav.student());
    let losses = golden.values("loss");
    for (step, lr) in golden.values("lr").into_iter().enumerate() {
        let loss = swav.loss(&batch(&golden, step), &at(step)).loss;
        let found = f64::from(to_host(loss.clone())[0]);
        let off = (found - losses[step]).abs() / losses[step];
        assert!(off < 5e-6, "step {step}: loss {found}, off by {off:.1e}");
        let gradients = NamedGradients::of(swav.student(), &loss.backward());
        let treatment = swav.treatment(&at(step));
        larc.step(swav.student(), gradients, 1e-3, |name| treatment.rate(name, lr, lr));
        swav.after_update(&at(step));
    }
    for_each_leaf(&mut swav, |name, leaf| match leaf {
        Leaf::Param(found) | Leaf::Buffer(found) if !name.starts_with("queues") => {
            let name = format!("final.{}", script_name(name));
            assert_close(found.flat(), &golden, &name, 1e-4);
        }
        Leaf::Param(found) | Leaf::Buffer(found) => {
            let view: usize = name.split('.').nth(1).unwrap().parse().unwrap();
            let all: Tensor<3> = golden.tensor("queue");
            let expected = to_host(all.slice_dim(0, view as i32..view as i32 + 1));
            let off = to_host(found.flat())
                .iter()
                .zip(&expected)
                .fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(off < 2e-5, "{name}: off by {off:.1e}");
        }
        Leaf::Counter(rows) => assert_eq!(*rows, 4 * BATCH as u64, "{name}"),
    });
}

/// A method with the prototypes of `swav_loss` and, if `queued`, its full queues.
fn method_of_loss(golden: &Golden, queued: bool) -> SwAv {
    let mut swav = SwAv::new(&config(), &resnet18_w4(1), &device());
    let queues = golden.f32("queue");
    let halves = queues.split_at(queues.len() / 2);
    set_tensors(&mut swav, |name| match name {
        "student.prototypes.weight" => Some(golden.f32("prototypes")),
        "queues.0.rows" => Some(halves.0.to_vec()),
        "queues.1.rows" => Some(halves.1.to_vec()),
        _ => None,
    });
    for_each_leaf(&mut swav, |_, leaf| {
        if let (Leaf::Counter(written), true) = (leaf, queued) {
            *written = config().queue as u64;
        }
    });
    swav
}

/// Predictions without information: of so high a temperature that the scores do not matter.
#[test]
fn chance_is_the_logarithm_of_the_prototypes() {
    let blunt = SwAvConfig { temperature: 1e9, ..config() };
    let mut swav = SwAv::new(&blunt, &resnet18_w4(1), &device());
    let z: Tensor<2> = Golden::open("swav_loss").tensor::<3>("z").flatten(0, 1);
    let loss = swav.loss_with(l2_normalize(z).autodiff(), BATCH);
    let chance = swav.expectation().chance;
    assert!((chance - 10f64.ln()).abs() < 1e-12);
    assert!((f64::from(to_host(loss)[0]) - chance).abs() < 1e-6);
}

/// From the batch alone and behind a queue: codes of both assigned views, the loss, and its
/// gradients for features of any length and for the prototypes. torch's own f32 is within 2e-7 of
/// its f64 (golden/MANIFEST.json); ours sums in another order, and exp(score / 0.05) has 20 times
/// the error of a score.
#[test]
fn codes_loss_and_gradients_match_torch() {
    let golden = Golden::open("swav_loss");
    for (name, queued) in [("batch", false), ("queue", true)] {
        let named = |what: &str| format!("{name}.{what}");
        let mut swav = method_of_loss(&golden, queued);
        let z = golden.tensor::<3>("z").autodiff().require_grad();
        let unit = l2_normalize(z.clone().flatten(0, 1)); // [4 N, D]
        let assigned = unit.clone().without_autodiff().chunk(4, 0).into_iter().take(2);
        let codes = assigned.enumerate().map(|(view, z)| swav.assign(view, z)).collect();
        assert_close(Tensor::cat(codes, 0), &golden, &named("codes"), 2e-6);

        let loss = swav.loss_with(unit, BATCH);
        assert_close(loss.clone(), &golden, &named("loss"), 2e-6);
        let gradients = loss.backward();
        assert_close(z.grad(&gradients).unwrap(), &golden, &named("grad_z"), 3e-6);
        for_each_param(swav.student(), |name, param| {
            let gradient = param.gradient(&gradients);
            assert_eq!(gradient.is_some(), name == "prototypes.weight", "{name}");
            if let Some(gradient) = gradient {
                assert_close(gradient, &golden, &named("grad_prototypes"), 3e-6);
            }
        });
    }
}

/// Prototypes do not move while they rest, and have unit length whenever the loss sees them.
#[test]
fn prototypes_rest_at_first() {
    let golden = Golden::open("swav_trajectory");
    let swav = SwAv::new(&config(), &resnet18_w4(1), &device());
    assert_eq!(swav.treatment(&at(1)).rate("prototypes.weight", 0.1, 0.1), None);
    assert_eq!(swav.treatment(&at(2)).rate("prototypes.weight", 0.1, 0.1), Some(0.1));
    assert_eq!(swav.treatment(&at(0)).rate("encoder.head.0.weight", 0.1, 0.1), Some(0.1));
    let mut swav = swav;
    swav.loss(&batch(&golden, 0), &at(0));
    for_each_leaf(&mut swav, |name, leaf| {
        if let (Leaf::Param(weight), "student.prototypes.weight") = (leaf, name) {
            let rows: Tensor<2> = weight.flat().reshape([10, 12]);
            let lengths = to_host(rows.square().sum_dim(1));
            assert!(lengths.iter().all(|length| (length - 1.0).abs() < 1e-6), "{lengths:?}");
        }
    });
}
