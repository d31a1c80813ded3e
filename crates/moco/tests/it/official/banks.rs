//! InstDisc, CMC and InvaSpread against their published codes.

use super::{Official, at};
use crate::device::device;
use crate::golden::{assert_close, difference, resnet, resnet18_w4};
use crate::instdisc::indices;
use burn::tensor::{Int, Tensor};
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, RuleConfig, StemKind};
use moco::layout::Layout;
use moco::methods::{BankLoss, CmcConfig, InstDiscConfig, InvaSpreadConfig, InvaSpreadGradient};
use moco::methods::{Cmc, InstDisc, InvaSpread, Method};
use moco::nn::{Module, tensors};
use moco::optim::Optimizer;

const IMAGES: usize = 20;
const BATCH: usize = 6;

fn sgd(student: &mut dyn Module) -> Optimizer {
    Optimizer::of_rule(RuleConfig::Sgd { momentum: 0.9 }, DecayScope::All, None, student)
}

fn batch(official: &Official, step: usize) -> Batch {
    let indices = official.tensors.indices("index")[step * BATCH..][..BATCH].to_vec();
    Batch { indices, views: vec![official.view("view", step)] }
}

fn samples(official: &Official, step: usize) -> Tensor<2, Int> {
    let count = BATCH * 10;
    indices(&official.tensors.indices("samples")[step * count..][..count], [BATCH, 10])
}

fn instdisc(name: &str, loss: BankLoss) -> (Official, InstDisc) {
    let official = Official::open(name);
    let config = InstDiscConfig {
        dim: official.setting("low_dim") as usize,
        temperature: official.setting("nce_t"),
        bank_momentum: official.setting("nce_m"),
        loss,
        negatives: 9,
        proximal: 0.0,
    };
    let network = resnet("resnet18", 4, StemKind::Imagenet);
    let mut method = InstDisc::new(&config, &network, IMAGES, &device());
    official.start(&mut method, Layout::InstDisc);
    let mut sgd = sgd(method.student());
    official.train(
        &mut method,
        &mut sgd,
        |_| 1e-4,
        |method, step| method.loss_with(&batch(&official, step), |_| samples(&official, step)),
    );
    official.compare(&mut method, Layout::InstDisc, &["lemniscate.params"]);
    (official, method)
}

#[test]
fn instdisc_over_all_rows_is_the_published_code() {
    instdisc("instdisc_softmax", BankLoss::Softmax);
}

/// The published code keeps K, T, Z and the momentum in one tensor.
#[test]
fn instdisc_with_sampled_rows_is_the_published_code() {
    let (official, mut method) = instdisc("instdisc_nce", BankLoss::Nce);
    let z = to_host(tensors(&mut method)["partition.z"].clone());
    let expected = official.tensors.values("final.lemniscate.params")[2];
    assert!(difference(&z, &[expected]) < official.state_tolerance());
}

fn cmc(name: &str, loss: BankLoss) -> (Official, Cmc) {
    let official = Official::open(name);
    let config = CmcConfig {
        dim: official.setting("feat_dim") as usize,
        temperature: official.setting("nce_t"),
        bank_momentum: official.setting("nce_m"),
        loss,
        negatives: official.setting("nce_k") as usize,
    };
    let network = resnet("resnet18", 4, StemKind::Imagenet);
    let mut method = Cmc::new(&config, &network, IMAGES, &device());
    official.start(&mut method, Layout::Cmc);
    let mut sgd = sgd(method.student());
    official.train(
        &mut method,
        &mut sgd,
        |_| 1e-4,
        |method, step| method.loss_with(&batch(&official, step), samples(&official, step)),
    );
    official.compare(&mut method, Layout::Cmc, &["contrast.params"]);
    (official, method)
}

#[test]
fn cmc_over_sampled_rows_is_the_published_code() {
    cmc("cmc_softmax", BankLoss::Softmax);
}

#[test]
fn cmc_with_nce_is_the_published_code() {
    let (official, mut method) = cmc("cmc_nce", BankLoss::Nce);
    let state = tensors(&mut method);
    let z: Vec<f32> =
        (0..2).flat_map(|i| to_host(state[&format!("partitions.{i}.z")].clone())).collect();
    let expected = official.tensors.values("final.contrast.params");
    assert!(
        difference(&z, &expected[2..4]) < official.state_tolerance(),
        "{z:?} is not {expected:?}"
    );
}

/// The published code takes its gradient into the first vector of a product only.
fn invaspread(name: &str) {
    let official = Official::open(name);
    let config = InvaSpreadConfig {
        dim: official.setting("low_dim") as usize,
        temperature: official.setting("batch_t"),
        gradient: InvaSpreadGradient::Row,
        negative_weight: official.setting("batch_m"),
    };
    let mut method = InvaSpread::new(&config, &resnet18_w4(1), BATCH, &device());
    official.start(&mut method, Layout::InvaSpread);
    let mut sgd = sgd(method.student());
    official.train(
        &mut method,
        &mut sgd,
        |_| 5e-4,
        |method, step| {
            let views = ["view1", "view2"].map(|name| official.view(name, step)).into();
            method.loss(&Batch { indices: (0..BATCH).collect(), views }, &at(step))
        },
    );
    official.compare(&mut method, Layout::InvaSpread, &[]);
}

#[test]
fn invaspread_is_the_published_code() {
    invaspread("invaspread");
}

#[test]
fn invaspread_with_heavier_negatives_is_the_published_code() {
    invaspread("invaspread_m2");
}

/// Features of the first step, and what the published loss makes of them.
#[test]
fn invaspread_gradients_are_the_published_ones() {
    for (name, weight) in [("invaspread", 1.0), ("invaspread_m2", 2.0)] {
        let official = Official::open(name);
        let z = official.tensors.tensor::<2>("first.features").autodiff().require_grad();
        let loss = moco::loss::invaspread(z.clone(), 0.1, true, weight).loss;
        let gradient = z.grad(&loss.backward()).unwrap();
        assert_close(gradient, &official.tensors, "first.grad_features", 5e-6);
    }
}
