//! SimCLR against PyTorch, and what its loss must be.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4, tensor};
use crate::trajectory::{self, BATCH};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::loss::{l2_normalize, nt_xent};
use moco::methods::{Method, SimClr};
use moco::methods::{Reduction, SimClrConfig};
use moco::nn::init;
use moco::optim::Optimizer;
use moco::rng::{Purpose, stream};

fn config(projector_layers: usize, reduction: Reduction) -> SimClrConfig {
    let (dim, temperature, memory, momentum) = (16, 0.5, 0, 0.9);
    SimClrConfig { dim, projector_layers, temperature, reduction, memory, momentum }
}

/// Unit vectors, two views of `n` images.
fn unit_rows(n: usize, dim: usize) -> Tensor<2> {
    let mut rng = stream(7, Purpose::Queue, 0);
    l2_normalize(init::normal([2 * n, dim], 1.0, &mut rng, &device()))
}

fn value(loss: Tensor<1>) -> f64 {
    f64::from(to_host(loss)[0])
}

/// A matrix product of unit vectors and a softmax in f32: torch's own f32 is within 1e-6.
#[test]
fn loss_and_gradients_match_torch() {
    let golden = Golden::open("simclr_loss");
    for (name, temperature) in [("t010", 0.1), ("t050", 0.5)] {
        for (kind, scale) in [("mean", 1.0), ("sum", 2.0), ("memory", 1.0)] {
            let name = |what: &str| format!("{name}.{kind}.{what}");
            let memory = (kind == "memory").then(|| golden.tensor("memory"));
            let [z1, z2] = ["z1", "z2"].map(|z| golden.tensor::<2>(z).autodiff().require_grad());
            let z = l2_normalize(Tensor::cat(vec![z1.clone(), z2.clone()], 0));
            let loss = nt_xent(z, memory, temperature).loss * scale;
            assert_close(loss.clone(), &golden, &name("loss"), 5e-6);
            let gradients = loss.backward();
            assert_close(z1.grad(&gradients).unwrap(), &golden, &name("grad_z1"), 5e-6);
            assert_close(z2.grad(&gradients).unwrap(), &golden, &name("grad_z2"), 5e-6);
        }
    }
}

/// All embeddings equal give `ln(2N - 1)`, twice that when the halves are added.
#[test]
fn a_collapsed_network_gives_the_closed_form() {
    for n in [1, 2, 8, 100] {
        let z = tensor([0.6, 0.8].repeat(2 * n), [2 * n, 2]);
        let expected = (2.0 * n as f64 - 1.0).ln();
        for temperature in [0.1, 0.5] {
            let loss = value(nt_xent(z.clone(), None, temperature).loss);
            assert!((loss - expected).abs() < 5e-6, "N = {n}: {loss} is not {expected}");
        }
    }
    for (reduction, factor) in [(Reduction::Mean, 1.0), (Reduction::Sum, 2.0)] {
        let method = SimClr::new(&config(2, reduction), &resnet18_w4(1), 64, &device());
        assert_eq!(method.expectation().collapse, Some(factor * 127f64.ln()));
        let config = SimClrConfig { memory: 73, ..config(2, reduction) };
        let method = SimClr::new(&config, &resnet18_w4(1), 64, &device());
        assert_eq!(method.expectation().collapse, Some(factor * 200f64.ln()));
    }
}

/// As for InfoNCE: within 4 standard errors of 2N positives of deviation 1/(T sqrt(D)).
#[test]
fn unrelated_vectors_give_the_chance_loss() {
    let (n, dim) = (256, 64);
    let config = SimClrConfig { dim, temperature: 0.5, ..config(2, Reduction::Mean) };
    let method = SimClr::new(&config, &resnet18_w4(1), n, &device());
    let chance = method.expectation().chance;
    let loss = value(nt_xent(unit_rows(n, dim), None, 0.5).loss);
    // Both views of a pair have the same positive, so that there are N of them to average.
    let standard_error = 1.0 / (0.5 * (dim as f64).sqrt() * (n as f64).sqrt());
    assert!((loss - chance).abs() < 4.0 * standard_error, "{loss} is not near {chance}");
}

/// Neither the order of the pairs nor that within them matters; which views are a
/// pair does.
#[test]
fn the_order_of_pairs_does_not_matter() {
    let (n, dim) = (16, 8);
    let z = unit_rows(n, dim);
    let pick = |rows: Vec<usize>| {
        let rows: Vec<i32> = rows.into_iter().map(|row| row as i32).collect();
        let rows = Tensor::from_data(rows.as_slice(), &device());
        value(nt_xent(z.clone().select(0, rows), None, 0.2).loss)
    };
    let loss = pick((0..2 * n).collect());
    let reversed = (0..n).rev().chain((n..2 * n).rev()).collect();
    assert!((pick(reversed) - loss).abs() < 1e-6 * loss);
    let swapped = (n..2 * n).chain(0..n).collect();
    assert!((pick(swapped) - loss).abs() < 1e-6 * loss);
    let mismatched = (0..n).chain((n..2 * n).rev()).collect();
    assert!((pick(mismatched) - loss).abs() > 1e-2);
}

/// Two pairs at right angles: `-ln(e^(1/T) / (e^(1/T) + 2))`, and every view finds its other.
#[test]
fn perfect_pairs_give_the_closed_form() {
    let z = tensor(vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], [4, 2]);
    let contrast = nt_xent(z, None, 0.5);
    let expected = (2.0 * (-2.0f64).exp()).ln_1p();
    assert!((value(contrast.loss) - expected).abs() < 1e-6);
    assert_eq!(to_host(contrast.accuracy), [1.0]);
}

fn check_trajectory(name: &str, config: &SimClrConfig, tolerances: [f64; 2]) {
    let golden = Golden::open(name);
    let mut method = SimClr::new(config, &resnet18_w4(1), BATCH, &device());
    let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Inside };
    let mut lars = Optimizer::of_rule(rule, DecayScope::Matrices, None, method.student());
    trajectory::check(&mut method, &mut lars, &golden, 1e-3, tolerances, &[]);
}

/// LARS divides by small norms: torch's own f32 is 1.3e-6 (loss) and 3.6e-6 (state) away from its
/// f64, in v2 3.7e-6 and 1.4e-5. Winograd convolutions cost about ten times as much
/// (golden/README.md).
#[test]
fn v1_trajectory_matches_torch() {
    check_trajectory("simclr_trajectory", &config(2, Reduction::Mean), [1e-5, 5e-5]);
}

#[test]
fn v2_trajectory_matches_torch() {
    check_trajectory("simclr_v2_trajectory", &config(3, Reduction::Sum), [2e-5, 1e-4]);
}

/// With the moving average, the queue and whose images its keys are. Torch's own f32 is 2.2e-7 and
/// 5.6e-6 away.
#[test]
fn trajectory_with_a_memory_matches_torch() {
    let config = SimClrConfig { memory: 40, ..config(2, Reduction::Mean) };
    check_trajectory("simclr_memory_trajectory", &config, [1e-5, 5e-5]);
}
