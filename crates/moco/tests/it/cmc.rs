//! CMC against PyTorch, and its banks, chance and views.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet, set_tensors, tensor, torch_name};
use crate::instdisc::indices;
use crate::sgd_trajectory::{at, check_final, check_losses, set_initial, view};
use burn::tensor::{Int, Tensor, s};
use moco::batch::{Batch, to_host};
use moco::config::{FeatureKind, StemKind};
use moco::loss::{bank_scores, l2_normalize, nce, softmax_over_samples};
use moco::methods::{BankLoss, CmcConfig};
use moco::methods::{Cmc, Method};
use moco::nn::{Mode, tensors};
use moco::parts::Partition;

/// Products of unit vectors, exponentials and logarithms in f32: torch's own f32 is within 5e-7.
const TOLERANCE: f64 = 5e-6;
const IMAGES: usize = 20;
const DIM: usize = 16;
const BATCH: usize = 6;
const LOSSES: [(&str, BankLoss); 2] = [("softmax", BankLoss::Softmax), ("nce", BankLoss::Nce)];

fn method(loss: BankLoss) -> Cmc {
    let config = CmcConfig { dim: DIM, temperature: 0.1, bank_momentum: 0.5, loss, negatives: 9 };
    Cmc::new(&config, &resnet("resnet18", 2, StemKind::Cifar), IMAGES, &device())
}

/// Each feature against the other's bank, or `uncrossed` against its own.
#[test]
fn losses_and_gradients_match_torch() {
    let golden = Golden::open("cmc_loss");
    for (name, kind) in LOSSES {
        for uncrossed in [false, true] {
            let raw = ["v_l", "v_ab"].map(|v| golden.tensor::<2>(v).autodiff().require_grad());
            let losses = ["bank_ab", "bank_l"].into_iter().enumerate().map(|(view, other)| {
                let bank = if uncrossed { ["bank_l", "bank_ab"][view] } else { other };
                let samples = indices(&golden.indices("samples"), [5, 10]);
                let scores =
                    bank_scores(l2_normalize(raw[view].clone()), golden.tensor(bank), samples);
                match kind {
                    BankLoss::Softmax | BankLoss::SampledSoftmax => {
                        softmax_over_samples(scores, 0.07).loss
                    }
                    BankLoss::Nce => {
                        let z = Partition::new(&device()).z(&scores, 0.07, IMAGES);
                        nce(scores, z, 0.07, IMAGES).loss
                    }
                }
            });
            let loss = losses.reduce(|l, ab| l + ab).unwrap();
            if uncrossed {
                assert_close(loss, &golden, &format!("{name}.uncrossed_loss"), TOLERANCE);
                continue;
            }
            assert_close(loss.clone(), &golden, &format!("{name}.loss"), TOLERANCE);
            let gradients = loss.backward();
            for (raw, view) in raw.iter().zip(["l", "ab"]) {
                let gradient = raw.grad(&gradients).unwrap();
                assert_close(gradient, &golden, &format!("{name}.grad_v_{view}"), TOLERANCE);
            }
        }
    }
}

/// `backbone.luma.conv1.weight` is `l.conv1.weight`, `head.chroma.0.bias` is `ab.fc.bias`.
fn split_name(name: &str) -> String {
    let (side, name) = if name.contains(".luma.") {
        ("l", name.replace(".luma.", "."))
    } else {
        ("ab", name.replace(".chroma.", "."))
    };
    format!("{side}.{}", torch_name(&name, false))
}

fn golden_method(golden: &Golden, loss: BankLoss) -> Cmc {
    let mut method = method(loss);
    set_initial(method.student(), golden, split_name);
    set_tensors(&mut method, |name| match name {
        "banks.0.rows" => Some(golden.f32("bank_l_initial")),
        "banks.1.rows" => Some(golden.f32("bank_ab_initial")),
        _ => None,
    });
    method
}

fn batch(golden: &Golden, step: usize) -> Batch {
    let indices = golden.indices("index")[step * BATCH..][..BATCH].to_vec();
    Batch { indices, views: vec![view(golden, "view", step)] }
}

fn samples(golden: &Golden, step: usize) -> Tensor<2, Int> {
    let count = BATCH * 10;
    indices(&golden.indices("samples")[step * count..][..count], [BATCH, 10])
}

/// Losses of the sum of both views, both encoders, both banks (each moved by its own view's
/// features) and both Z.
#[test]
fn trajectories_match_torch() {
    let golden = Golden::open("cmc_trajectory");
    for (kind, loss) in LOSSES {
        let mut method = golden_method(&golden, loss);
        check_losses(&mut method, &golden, kind, 1e-4, |method, step| {
            method.loss_with(&batch(&golden, step), samples(&golden, step))
        });
        check_final(method.student(), &golden, kind, split_name);
        let state = tensors(&mut method);
        for (i, view) in ["l", "ab"].into_iter().enumerate() {
            let rows = state[&format!("banks.{i}.rows")].clone();
            assert_close(rows, &golden, &format!("{kind}.bank_{view}"), 2e-5);
            if loss == BankLoss::Nce {
                let z = state[&format!("partitions.{i}.z")].clone();
                assert_close(z, &golden, &format!("nce.z_{view}"), 2e-5);
            }
        }
    }
}

/// With the banks swapped the loss is another.
#[test]
fn swapped_banks_change_the_loss() {
    let golden = Golden::open("cmc_trajectory");
    for (_, loss) in LOSSES {
        let value = |mut method: Cmc| {
            to_host(method.loss_with(&batch(&golden, 0), samples(&golden, 0)).loss)[0]
        };
        let straight = value(golden_method(&golden, loss));
        let mut swapped = golden_method(&golden, loss);
        set_tensors(&mut swapped, |name| match name {
            "banks.0.rows" => Some(golden.f32("bank_ab_initial")),
            "banks.1.rows" => Some(golden.f32("bank_l_initial")),
            _ => None,
        });
        let swapped = value(swapped);
        assert!((straight - swapped).abs() > 1e-2, "{straight} and {swapped}");
    }
}

/// Luminance decides the first half of a feature, colour the second, and the feature is the
/// concatenation of both encoders'.
#[test]
fn features_are_those_of_both_encoders() {
    let golden = Golden::open("cmc_trajectory");
    let mut method = golden_method(&golden, BankLoss::Softmax);
    let x = view(&golden, "view", 0);
    let [n, h, w, _] = x.dims();
    let other = view(&golden, "view", 1);
    let luma = |x: &Tensor<4>| x.clone().slice(s![.., .., .., 0..1]);
    let chroma = |x: &Tensor<4>| x.clone().slice(s![.., .., .., 1..3]);
    let mixed = Tensor::cat(vec![luma(&x), chroma(&other)], 3);
    assert_eq!(mixed.dims(), [n, h, w, 3]);
    let encoder = method.encoder();
    for (kind, half) in [(FeatureKind::Backbone, 16), (FeatureKind::Head, DIM)] {
        assert_eq!(encoder.width(kind), 2 * half);
        let mut embed = |x: &Tensor<4>| {
            let both = encoder.embed(x.clone(), kind, Mode::Eval);
            assert_eq!(both.dims(), [n, 2 * half]);
            [0..half, half..2 * half].map(|side| to_host(both.clone().slice(s![.., side])))
        };
        let ([l, ab], [l_other, ab_other]) = (embed(&x), embed(&other));
        let [l_mixed, ab_mixed] = embed(&mixed);
        assert_eq!((l_mixed, ab_mixed), (l.clone(), ab_other.clone()));
        assert!(l != l_other && ab != ab_other);
    }
}

/// The loss of unrelated unit vectors, of both views together.
#[test]
fn chance_and_collapse_are_those_of_two_views() {
    let expectation = method(BankLoss::Softmax).expectation();
    let chance = 2.0 * (10f64.ln() + 1.0 / (2.0 * 16.0 * 0.01));
    assert!((expectation.chance - chance).abs() < 1e-12);
    let collapsed = softmax_over_samples(tensor(vec![1.0; 30], [3, 10]), 0.1);
    let collapse = 2.0 * f64::from(to_host(collapsed.loss)[0]);
    assert!((expectation.collapse.unwrap() - collapse).abs() < 1e-5);
    let nce = method(BankLoss::Nce).expectation();
    assert!((nce.chance - chance - 2.0).abs() < 1e-12 && nce.collapse.is_none());
}

#[test]
fn losses_depend_on_the_step_through_the_samples_only() {
    let golden = Golden::open("cmc_trajectory");
    let loss = |step| {
        let mut method = golden_method(&golden, BankLoss::Softmax);
        to_host(method.loss(&batch(&golden, 0), &at(step)).loss)[0]
    };
    assert_eq!(loss(1), loss(1));
    assert_ne!(loss(1), loss(2));
}
