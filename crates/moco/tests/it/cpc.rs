//! CPC against PyTorch: context network, losses in all readings, five steps of each version.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet, set_params, stored_view, tensor};
use burn::tensor::{Tensor, s};
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, NormKind, RuleConfig, StemKind};
use moco::methods::CpcConfig;
use moco::methods::{Cpc, Method, Step, cpc_loss, cpc_turned};
use moco::models::ContextPadding;
use moco::models::{Architecture, Context, NetworkSpec};
use moco::nn::for_each_param;
use moco::optim::{NamedGradients, Optimizer};
use moco::rng::{Purpose, stream};

const BATCH: usize = 3;
const GRID: usize = 4;
const ZEROS: ContextPadding = ContextPadding::Zeros;

#[test]
fn context_matches_torch_with_all_gradients() {
    let golden = Golden::open("cpc_context");
    let device = device().autodiff();
    let mut net = Context::new(12, 8, 2, ZEROS, &mut stream(0, Purpose::Weights, 0), &device);
    set_params(&mut net, |name| golden.f32(&format!("state.{name}")));
    let z = golden.tensor::<4>("z").autodiff().require_grad();
    let out = net.forward(z.clone());
    assert_close(out.clone(), &golden, "out", 2e-6);
    let gradients = (out * golden.tensor::<4>("cotangent")).sum().backward();
    assert_close(z.grad(&gradients).unwrap(), &golden, "grad_z", 2e-6);
    for_each_param(&mut net, |name, param| {
        let gradient = param.gradient(&gradients).expect("a gradient for every parameter");
        assert_close(gradient, &golden, &format!("grad.{name}"), 3e-6);
    });
}

/// Rows above do not see rows below.
#[test]
fn context_is_causal() {
    let golden = Golden::open("cpc_context");
    let net = Context::new(12, 8, 2, ZEROS, &mut stream(0, Purpose::Weights, 0), &device());
    let z: Tensor<4> = golden.tensor("z");
    let below = z.clone().slice(s![.., 3.., .., ..]) + 1.0;
    let changed = Tensor::cat(vec![z.clone().slice(s![.., 0..3, .., ..]), below], 1);
    let rows = |z: Tensor<4>, range| to_host(net.forward(z).slice_dim(1, range));
    assert_eq!(rows(z.clone(), 0..3), rows(changed.clone(), 0..3));
    assert_ne!(rows(z, 3..5), rows(changed, 3..5));
}

/// The loss for given maps and matrices, and its gradients, for both first offsets.
#[test]
fn loss_matches_torch_with_all_gradients() {
    let golden = Golden::open("cpc_loss");
    for first in [1, 2] {
        let leaf = |name: &str| golden.tensor::<4>(name).autodiff().require_grad();
        let (z, c) = (leaf("z"), leaf("c"));
        let w = golden.tensor::<3>("w").autodiff().require_grad();
        let loss = with_matrices(&z, &c, &w, first);
        assert_close(loss.clone(), &golden, &format!("first{first}.loss"), 2e-6);
        let gradients = loss.backward();
        let check = |gradient, name: &str| {
            assert_close(gradient, &golden, &format!("first{first}.{name}"), 3e-6);
        };
        check(z.grad(&gradients).unwrap(), "grad_z");
        check(c.grad(&gradients).unwrap(), "grad_c");
        assert_close(w.grad(&gradients).unwrap(), &golden, &format!("first{first}.grad_w"), 3e-6);
    }
}

/// The sum of the rows' losses, with prediction `w[k] c` for the row `first + k` below.
fn with_matrices(z: &Tensor<4>, c: &Tensor<4>, w: &Tensor<3>, first: usize) -> Tensor<1> {
    let [n, rows, columns, dim] = c.dims();
    let mut loss = Tensor::zeros([1], &z.device());
    for k in 0..w.dims()[0] {
        let w = w.clone().slice_dim(0, k as i32..k as i32 + 1).squeeze_dim::<2>(0);
        let flat = c.clone().reshape([n * rows * columns, dim]);
        let predicted = flat.matmul(w.transpose()).reshape([n, rows, columns, dim]);
        loss = loss + cpc_loss(predicted, z, first + k);
    }
    loss
}

#[test]
fn four_directions_match_torch() {
    let golden = Golden::open("cpc_loss");
    let z: Tensor<4> = golden.tensor("z");
    let contexts: Tensor<5> = golden.tensor("c_directions");
    let matrices: Tensor<4> = golden.tensor("w_directions");
    let expected = golden.values("directions.by_direction");
    for d in 0..4 {
        let at = d as i32..d as i32 + 1;
        let c = contexts.clone().slice_dim(0, at.clone()).squeeze_dim::<4>(0);
        let w = matrices.clone().slice_dim(0, at).squeeze_dim::<3>(0);
        let loss = with_matrices(&cpc_turned(z.clone(), d), &c, &w, 2);
        let found = f64::from(to_host(loss)[0]);
        assert!((found - expected[d]).abs() < 3e-6 * expected[d], "direction {d}: {found}");
    }
}

fn network(norm: NormKind) -> NetworkSpec {
    let mut network = resnet("resnet18", 4, StemKind::Cifar);
    if let Architecture::ResNet(resnet) = &mut network.architecture {
        resnet.blocks.truncate(3);
        resnet.norm = norm;
    }
    network
}

/// 4x4 patches of 8 pixels at stride 4, image by image and row by row.
fn patches(images: Tensor<4>) -> Tensor<4> {
    let [n, ..] = images.dims();
    let cut = (0..GRID * GRID).map(|p| {
        let (i, j) = (p / GRID * 4, p % GRID * 4);
        images.clone().slice(s![.., i..i + 8, j..j + 8, ..]).reshape([n, 1, 8 * 8 * 3])
    });
    Tensor::cat(cut.collect(), 1).reshape([n * GRID * GRID, 8, 8, 3])
}

fn config(first_offset: usize, directions: usize) -> CpcConfig {
    CpcConfig {
        dim: 16,
        context_width: 8,
        context_blocks: 2,
        context_padding: ZEROS,
        steps: 2,
        first_offset,
        directions,
        prediction_scale: 1.0,
    }
}

/// Five steps of `config`; `script_name` is the script's name of one of our parameters.
///
/// torch's own f32 is up to 7e-8 (loss) and 7e-6 (state) away from its f64; Winograd convolutions
/// round a few times as much, and Adam divides small gradients by their own size.
fn check_trajectory(
    file: &str,
    config: &CpcConfig,
    norm: NormKind,
    script_name: impl Fn(&str) -> String,
) {
    let golden = Golden::open(file);
    let mut cpc = Cpc::new(config, &network(norm), [GRID, GRID], BATCH, &device());
    set_params(&mut cpc, |name| golden.f32(&format!("initial.cpc.{}", script_name(name))));
    let rule = RuleConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-4 };
    let mut adam = Optimizer::of_rule(rule, DecayScope::All, None, cpc.student());
    let losses = golden.values("loss");
    for (step, lr) in golden.values("lr").into_iter().enumerate() {
        let views = vec![patches(stored_view(&golden, "view", step))];
        let batch = Batch { indices: (0..BATCH).collect(), views };
        let at = Step { index: step, total: 5, per_epoch: 5, seed: 0, part: 0 };
        let loss = cpc.loss(&batch, &at).loss;
        let found = f64::from(to_host(loss.clone())[0]);
        let off = (found - losses[step]).abs() / losses[step];
        assert!(off < 5e-6, "step {step}: loss {found}, off by {off:.1e}");
        let gradients = NamedGradients::of(cpc.student(), &loss.backward());
        adam.step(cpc.student(), gradients, 0.0, |_| Some(lr));
    }
    let mut compared = 0;
    for_each_param(&mut cpc, |name, param| {
        let name = format!("final.cpc.{}", script_name(name));
        assert_close(param.flat(), &golden, &name, 1e-4);
        compared += 1;
    });
    let stored = golden.names().iter().filter(|name| name.starts_with("final.")).count();
    assert_eq!(compared, stored, "every parameter of the script's has one of ours");
}

#[test]
fn trajectory_matches_torch() {
    check_trajectory("cpc_trajectory", &config(1, 1), NormKind::Nothing, |name| {
        name.replace("student.", "").replace("directions.0.", "")
    });
}

/// The second version: LayerNorm, four directions.
#[test]
fn trajectory_of_the_second_version_matches_torch() {
    check_trajectory("cpc_v2_trajectory", &config(2, 4), NormKind::Layer, |name| {
        name.replace("student.", "")
    });
}

/// Predictions without information cost the logarithm of the number of places.
#[test]
fn equal_scores_give_the_logarithm_of_the_places() {
    let zeros = || tensor(vec![0.0; 2 * 9 * 4], [2, 3, 3, 4]);
    let loss = f64::from(to_host(cpc_loss(zeros(), &zeros(), 1))[0]);
    assert!((loss - 18f64.ln()).abs() < 1e-6, "{loss}");
}
