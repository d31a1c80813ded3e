//! Instance discrimination against PyTorch, and its bank and chance.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4, set_tensors, tensor};
use crate::sgd_trajectory::{at, check_final, check_losses, encoder_name, set_initial, view};
use burn::tensor::{Int, Tensor, TensorData};
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, FeatureKind, RuleConfig};
use moco::loss::{
    bank_scores, info_nce_chance, l2_normalize, nce, nce_chance, proximal, softmax_over_bank,
    softmax_over_samples,
};
use moco::methods::{BankLoss, InstDiscConfig};
use moco::methods::{InstDisc, Method};
use moco::nn::{Leaf, Mode, for_each_leaf, init, tensors};
use moco::optim::Optimizer;
use moco::parts::{Bank, Partition};
use moco::rng::{Purpose, stream};
use moco::train::{Rates, learn};

/// Products of unit vectors, exponentials and logarithms in f32: torch's own f32 is within 5e-7.
const TOLERANCE: f64 = 5e-6;
const IMAGES: usize = 20;
const DIM: usize = 16;
const BATCH: usize = 6;

fn config(loss: BankLoss) -> InstDiscConfig {
    InstDiscConfig {
        dim: DIM,
        temperature: 0.1,
        bank_momentum: 0.5,
        loss,
        negatives: 9,
        proximal: 0.0,
    }
}

fn method(loss: BankLoss) -> InstDisc {
    InstDisc::new(&config(loss), &resnet18_w4(1), IMAGES, &device())
}

pub fn indices<const D: usize>(values: &[usize], shape: [usize; D]) -> Tensor<D, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Both losses and their gradients, in both ways of computing scores, and the bank afterwards.
#[test]
fn losses_and_gradients_match_torch() {
    let golden = Golden::open("instdisc_loss");
    let t = 0.07;
    let images = golden.indices("index");
    let samples = || indices(&golden.indices("samples"), [images.len(), 10]);
    let feature = |name: &str| golden.tensor::<2>(name).autodiff().require_grad();

    let raw = feature("v");
    let softmax = softmax_over_bank(l2_normalize(raw.clone()), golden.tensor("bank"), &images, t);
    assert_close(softmax.loss.clone(), &golden, "softmax.loss", TOLERANCE);
    let gradient = raw.grad(&softmax.loss.backward()).unwrap();
    assert_close(gradient, &golden, "softmax.grad_v", TOLERANCE);

    let raw = feature("v");
    let distance = proximal(l2_normalize(raw.clone()), golden.tensor("bank"), &images);
    assert_close(distance.clone(), &golden, "proximal.loss", TOLERANCE);
    let gradient = raw.grad(&distance.backward()).unwrap();
    assert_close(gradient, &golden, "proximal.grad_v", TOLERANCE);

    let mut partition = Partition::new(&device());
    for (name, features) in [("nce", "v"), ("nce_second", "v_second")] {
        let raw = feature(features);
        let scores = bank_scores(l2_normalize(raw.clone()), golden.tensor("bank"), samples());
        let z = partition.z(&scores, t, IMAGES);
        assert_close(z.clone(), &golden, "nce.z", TOLERANCE);
        let loss = nce(scores, z, t, IMAGES).loss;
        assert_close(loss.clone(), &golden, &format!("{name}.loss"), TOLERANCE);
        let gradient = raw.grad(&loss.backward()).unwrap();
        assert_close(gradient, &golden, &format!("{name}.grad_v"), TOLERANCE);
    }

    let mut bank = Bank::new([IMAGES, DIM], 0.5, 0, 0, &device());
    set_tensors(&mut bank, |_| Some(golden.f32("bank")));
    bank.collect(&images, l2_normalize(golden.tensor("v")));
    bank.update();
    assert_close(bank.rows(), &golden, "bank_after", 1e-6);
}

/// Rows are fetched one by one where a bank is large: the same scores and gradients as products
/// with the whole bank, to a few roundings of sums of 16 products.
#[test]
fn scores_do_not_depend_on_how_they_are_computed() {
    let (n, m, images) = (3, 4, 1000);
    let rows = random_rows(images, DIM, 0);
    let mut bank = Bank::new([images, DIM], 0.5, 0, 0, &device());
    set_tensors(&mut bank, |_| Some(to_host(rows.clone())));
    let samples = bank.sample(&[5, 999, 0], m, 1, 2);
    let v = random_rows(n, DIM, 1).autodiff().require_grad();
    let scores = bank_scores(v.clone(), rows.clone(), samples.clone());
    let picked = v.clone().matmul(rows.transpose()).gather(1, samples);
    let weights = random_rows(n, m + 1, 2);
    let gradient = |scores: Tensor<2>| {
        let gradients = (scores * weights.clone()).sum().backward();
        to_host(v.grad(&gradients).unwrap())
    };
    let close = |a: Vec<f32>, b: Vec<f32>| {
        let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "off by {off:.1e}");
    };
    close(to_host(scores.clone()), to_host(picked.clone()));
    close(gradient(scores), gradient(picked));
}

fn random_rows(rows: usize, dim: usize, position: u64) -> Tensor<2> {
    let mut rng = stream(11, Purpose::Bank, position);
    l2_normalize(init::normal([rows, dim], 1.0, &mut rng, &device()))
}

/// Each loss over a bank, of unrelated unit vectors. The mean over 256 features
/// of a loss whose own score has standard deviation 1/(T sqrt(D)) is within 4 standard errors.
#[test]
fn unrelated_vectors_give_the_chance_loss() {
    let (n, dim, images, m, t) = (256, 128, 3000, 1000, 0.1);
    let (v, rows) = (random_rows(n, dim, 3), random_rows(images, dim, 4));
    let bank = Bank::new([images, dim], 0.5, 0, 0, &device());
    let owners: Vec<usize> = (0..n).collect();
    let scores = bank_scores(v.clone(), rows.clone(), bank.sample(&owners, m, 1, 0));
    let z = Partition::new(&device()).z(&scores, t, images);
    let near = |loss: Tensor<1>, chance: f64| {
        let loss = f64::from(to_host(loss)[0]);
        let standard_error = 1.0 / (t * (dim as f64).sqrt() * (n as f64).sqrt());
        assert!((loss - chance).abs() < 4.0 * standard_error, "{loss} is not near {chance}");
    };
    let full = softmax_over_bank(v, rows, &owners, t);
    near(full.loss, info_nce_chance(images - 1, dim, t));
    near(softmax_over_samples(scores.clone(), t).loss, info_nce_chance(m, dim, t));
    near(nce(scores, z, t, images).loss, nce_chance(m, dim, t));
}

/// Identical features and rows give the logarithm of the number of rivals.
#[test]
fn collapsed_vectors_give_the_collapse_loss() {
    let v = tensor([0.6, 0.8].repeat(4), [4, 2]);
    let rows = tensor([0.6, 0.8].repeat(50), [50, 2]);
    let contrast = softmax_over_bank(v, rows, &[3, 1, 4, 9], 0.07);
    assert!((to_host(contrast.loss)[0] - 50f32.ln()).abs() < 1e-5);
    let method = method(BankLoss::Softmax);
    assert_eq!(method.expectation().collapse, Some((IMAGES as f64).ln()));
}

fn batch(golden: &Golden, step: usize) -> Batch {
    let indices = golden.indices("index")[step * BATCH..][..BATCH].to_vec();
    Batch { indices, views: vec![view(golden, "view", step)] }
}

fn samples(golden: &Golden, step: usize) -> Tensor<2, Int> {
    let count = BATCH * 10;
    indices(&golden.indices("samples")[step * count..][..count], [BATCH, 10])
}

fn golden_method(golden: &Golden, loss: BankLoss) -> InstDisc {
    let mut method = method(loss);
    set_initial(method.student(), golden, encoder_name);
    set_tensors(&mut method, |name| (name == "bank.rows").then(|| golden.f32("bank_initial")));
    method
}

#[test]
fn trajectories_match_torch() {
    let golden = Golden::open("instdisc_trajectory");
    for (kind, loss) in [("softmax", BankLoss::Softmax), ("nce", BankLoss::Nce)] {
        let mut method = golden_method(&golden, loss);
        check_losses(&mut method, &golden, kind, 5e-4, |method, step| {
            method.loss_with(&batch(&golden, step), |_| samples(&golden, step))
        });
        check_final(method.student(), &golden, kind, encoder_name);
        let state = tensors(&mut method);
        assert_close(state["bank.rows"].clone(), &golden, &format!("{kind}.bank"), 2e-5);
        if let Some(z) = state.get("partition.z") {
            assert_close(z.clone(), &golden, "nce.z", 2e-5);
        }
    }
}

/// Cross-entropy of the own row among those that were sampled, by loops in f64: the loss of the
/// authors' later models.
#[test]
fn a_softmax_may_be_over_sampled_rows() {
    let golden = Golden::open("instdisc_trajectory");
    let mut sampled = golden_method(&golden, BankLoss::SampledSoftmax);
    let batch = batch(&golden, 0);
    let features = l2_normalize(sampled.encoder().embed(
        batch.single().clone(),
        FeatureKind::Head,
        Mode::Train,
    ));
    let (v, rows) = (to_host(features), golden.values("bank_initial"));
    let drawn = golden.indices("samples")[..BATCH * 10].to_vec();
    let losses = v.chunks_exact(DIM).zip(drawn.chunks_exact(10)).map(|(v, drawn)| {
        let score = |row: usize| -> f64 {
            let row = &rows[row * DIM..][..DIM];
            v.iter().zip(row).map(|(v, m)| f64::from(*v) * m).sum::<f64>() / 0.1
        };
        let sum: f64 = drawn.iter().map(|&row| score(row).exp()).sum();
        sum.ln() - score(drawn[0])
    });
    let expected = losses.sum::<f64>() / BATCH as f64;
    let found = sampled.loss_with(&batch, |_| samples(&golden, 0)).loss;
    let found = f64::from(to_host(found)[0]);
    assert!((found - expected).abs() < TOLERANCE * expected, "{found} is not {expected}");
    let chance = sampled.expectation();
    assert_eq!(chance.chance, info_nce_chance(9, DIM, 0.1));
    assert_eq!(chance.collapse, Some(10f64.ln()));
}

/// The configuration's weight times the squared distances is what the term adds, to the loss that is
/// trained on and to the one that is expected.
#[test]
fn the_proximal_term_has_its_weight() {
    let golden = Golden::open("instdisc_trajectory");
    let loss = |weight: f64| {
        let config = InstDiscConfig { proximal: weight, ..config(BankLoss::Softmax) };
        let mut method = InstDisc::new(&config, &resnet18_w4(1), IMAGES, &device());
        let loss = to_host(method.loss(&batch(&golden, 0), &at(0)).loss)[0];
        [f64::from(loss), method.expectation().chance]
    };
    let [without, one, thirty] = [0.0, 1.0, 30.0].map(loss);
    let distance = one[0] - without[0];
    assert!((1.0..3.0).contains(&distance), "vectors of length about 1: {distance}");
    assert!((thirty[0] - without[0] - 30.0 * distance).abs() < 1e-4 * thirty[0]);
    assert!((thirty[1] - without[1] - 60.0).abs() < 1e-9);
}

/// The loss sees the bank as it was; afterwards only the rows of the batch have moved.
#[test]
fn the_bank_moves_after_the_update() {
    let golden = Golden::open("instdisc_trajectory");
    let mut method = golden_method(&golden, BankLoss::Softmax);
    let rows = |method: &mut InstDisc| to_host(tensors(method)["bank.rows"].clone());
    let before = rows(&mut method);
    let batch = batch(&golden, 0);
    method.loss(&batch, &at(0));
    assert_eq!(rows(&mut method), before);
    method.after_update(&at(0));
    let after = rows(&mut method);
    for image in 0..IMAGES {
        let row = image * DIM..(image + 1) * DIM;
        let moved = before[row.clone()] != after[row];
        assert_eq!(moved, batch.indices.contains(&image), "image {image}");
    }
}

/// Nothing keeps the bank alive beyond the backward pass, so that a step copies rows, never the
/// bank: 650 MB for ImageNet.
#[test]
fn a_step_writes_the_bank_in_place() {
    let golden = Golden::open("instdisc_trajectory");
    let address = |method: &mut InstDisc| {
        let mut address = std::ptr::null();
        for_each_leaf(method, |name, leaf| {
            if let (Leaf::Buffer(rows), "bank.rows") = (leaf, name) {
                let data = rows.take_flat().into_data(); // of the only handle, so no copy
                address = data.as_bytes().as_ptr();
                rows.set_flat(Tensor::from_data(data, &device()));
            }
        });
        address
    };
    for loss in [BankLoss::Softmax, BankLoss::Nce] {
        let mut method = golden_method(&golden, loss);
        let before = address(&mut method);
        train(&mut method, &golden);
        assert_eq!(address(&mut method), before);
    }
}

fn train(method: &mut InstDisc, golden: &Golden) {
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    let rates = Rates { lr: 0.03, fixed_lr: 0.03, weight_decay: 0.0 };
    for step in 0..3 {
        learn(method, &mut sgd, batch(golden, step), at(step), &rates, 2).expect("a finite loss");
    }
}

/// A batch in parts leaves the bank that the whole batch leaves.
#[test]
fn parts_update_the_bank_once_with_all_rows() {
    let features = random_rows(BATCH, DIM, 5);
    let images = [3, 1, 4, 1, 5, 9];
    let bank = |size: usize| {
        let mut bank = Bank::new([IMAGES, DIM], 0.5, 7, 0, &device());
        for start in (0..BATCH).step_by(size) {
            let v = features.clone().slice([start..start + size, 0..DIM]);
            bank.collect(&images[start..start + size], v);
        }
        bank.update();
        to_host(bank.rows())
    };
    assert_eq!(bank(6), bank(3));
}

/// The negatives of `nce` depend on the step, the softmax on nothing but the batch.
#[test]
fn losses_repeat_and_only_nce_depends_on_the_step() {
    let golden = Golden::open("instdisc_trajectory");
    let loss = |kind, step| {
        let mut method = golden_method(&golden, kind);
        to_host(method.loss(&batch(&golden, 0), &at(step)).loss)[0]
    };
    assert_eq!(loss(BankLoss::Nce, 1), loss(BankLoss::Nce, 1));
    assert_ne!(loss(BankLoss::Nce, 1), loss(BankLoss::Nce, 2));
    assert_eq!(loss(BankLoss::Softmax, 1), loss(BankLoss::Softmax, 2));
}
