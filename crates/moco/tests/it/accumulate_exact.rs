//! A batch whose images pass the networks in parts and are compared as a whole.

use crate::device::{device, is_ours};
use crate::golden::difference;
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::{ConvInit, DecayScope, NormKind, ResNetConfig, RuleConfig, StemKind};
use moco::methods::{Byol, InvaSpread, Method, MocoV3, SimClr, Step};
use moco::methods::{
    ByolConfig, InvaSpreadConfig, InvaSpreadGradient, MocoV3Config, Reduction, SimClrConfig,
};
use moco::models::vit::VitConfig;
use moco::models::{Architecture, NetworkSpec, ResNetShape};
use moco::nn::{for_each_param, init, tensors};
use moco::optim::Optimizer;
use moco::rng::{Purpose, stream};
use moco::train::{Parts, Rates, learn};

const BATCH: usize = 8;

fn transformer(bn_groups: usize, drop_path: f64) -> NetworkSpec {
    let vit = VitConfig { bn_groups, drop_path, ..VitConfig::of_size([24, 2, 3], 4, [8, 8]) };
    NetworkSpec { architecture: Architecture::Vit(vit), seed: 1 }
}

fn without_norm() -> NetworkSpec {
    let resnet = ResNetConfig {
        width: 4,
        stem: StemKind::Cifar,
        stages: 2,
        norm: NormKind::Nothing,
        init: ConvInit::FanOut,
        zero_init_residual: false,
        bn_groups: 1,
        stem_width: None,
        blocks: None,
        first_projection: None,
        average_skips: None,
        sk_ratio: None,
    };
    let shape = ResNetShape::named("resnet18", &resnet).expect("a known name");
    NetworkSpec { architecture: Architecture::ResNet(shape), seed: 1 }
}

fn invaspread(gradient: InvaSpreadGradient, network: &NetworkSpec) -> Box<dyn Method> {
    let config = InvaSpreadConfig { dim: 8, temperature: 0.2, gradient, negative_weight: 1.0 };
    Box::new(InvaSpread::new(&config, network, BATCH, &device()))
}

fn simclr(memory: usize, network: &NetworkSpec) -> Box<dyn Method> {
    let config = SimClrConfig {
        dim: 8,
        projector_layers: 2,
        temperature: 0.5,
        reduction: Reduction::Sum,
        memory,
        momentum: 0.9,
    };
    Box::new(SimClr::new(&config, network, BATCH, &device()))
}

fn moco_v3(network: &NetworkSpec) -> Box<dyn Method> {
    let config =
        MocoV3Config { dim: 8, hidden: 12, temperature: 0.5, momentum: 0.9, momentum_cosine: true };
    Box::new(MocoV3::new(&config, network, BATCH, &device()))
}

fn byol(network: &NetworkSpec) -> Box<dyn Method> {
    let config = ByolConfig { dim: 8, hidden: 12, momentum: 0.9, momentum_cosine: true };
    Box::new(Byol::new(&config, network, &device()))
}

/// Losses of so many steps on two views, the images of each batch in the order of `order`, and the
/// method after them.
fn train(
    steps: usize,
    mut method: Box<dyn Method>,
    order: &[usize],
    parts: Parts,
) -> (Vec<f64>, Box<dyn Method>) {
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    let mut rng = stream(2, Purpose::Queue, 0);
    let rates = Rates { lr: 0.05, fixed_lr: 0.05, weight_decay: 1e-3 };
    let losses = (0..steps).map(|index| {
        let mut view = || -> Tensor<4> {
            let x: Tensor<4> = init::normal([BATCH, 8, 8, 3], 1.0, &mut rng, &device());
            let rows = order.iter().map(|&n| x.clone().slice_dim(0, n..n + 1)).collect();
            Tensor::cat(rows, 0)
        };
        let views = vec![view(), view()];
        let indices = order.iter().map(|n| index * BATCH + n).collect();
        let at = Step { index, total: 3, per_epoch: 3, seed: 5, part: 0 };
        learn(method.as_mut(), &mut sgd, Batch { indices, views }, at, &rates, parts).unwrap().loss
    });
    let losses = losses.collect();
    (losses, method)
}

/// All that is trained.
fn weights(mut method: Box<dyn Method>) -> Vec<f32> {
    let mut all = Vec::new();
    for_each_param(method.student(), |_, param| all.extend(to_host(param.flat())));
    all
}

fn state(mut method: Box<dyn Method>) -> Vec<f32> {
    tensors(method.as_mut()).into_values().flat_map(to_host).collect()
}

fn off(found: &[f32], expected: &[f32]) -> f64 {
    difference(found, &expected.iter().map(|v| f64::from(*v)).collect::<Vec<_>>())
}

/// In parts `make` equals the whole batch: but for BatchNorm, whose statistics are those of a part, so
/// that the whole batch is computed with as many groups. Group g of those has the images n with n mod
/// groups = g, and part p the p-th run of neighbours, hence the two orders. Sums differ in their order:
/// a few roundings of f32 per step, which a BatchNorm over 2 to 4 images enlarges, the more with each
/// step; so there it is one. Our kernels compute an image in the same way in a batch of any size. Other
/// engines choose by that size how they sum, so that every product is rounded anew and not only the sums
/// over images: they have three times the tolerance (LibTorch 2.9 is at most 8.8e-5 off).
#[track_caller]
fn check(make: &dyn Fn(usize) -> Box<dyn Method>, steps: usize, tolerance: f64) {
    let tolerance = if is_ours() { tolerance } else { 3.0 * tolerance };
    for count in [2, 4] {
        let neighbours: Vec<usize> = (0..BATCH).collect();
        let mixed: Vec<usize> =
            (0..BATCH).map(|n| n % count * (BATCH / count) + n / count).collect();
        let (losses, whole) = train(steps, make(count), &mixed, Parts::from(1));
        let (in_parts, exact) = train(steps, make(1), &neighbours, Parts { count, exact: true });
        for (whole, exact) in losses.iter().zip(in_parts) {
            let off = (whole - exact).abs() / whole;
            assert!(off < tolerance, "{count} parts: {exact}, not {whole}");
        }
        let expected = weights(whole);
        let distance = off(&weights(exact), &expected);
        assert!(distance < tolerance, "{count} parts: off by {distance:.1e}");
        // Parts that are batches of their own learn something else.
        let (_, apart) = train(steps, make(1), &neighbours, Parts { count, exact: false });
        let apart = off(&weights(apart), &expected);
        assert!(apart > 10.0 * tolerance, "{count} parts of their own: off by {apart:.1e} only");
    }
}

#[test]
fn invaspread_in_parts_compares_the_whole_batch() {
    for gradient in [InvaSpreadGradient::Row, InvaSpreadGradient::Both] {
        check(&|_| invaspread(gradient, &transformer(1, 0.0)), 3, 3e-6);
        check(&|_| invaspread(gradient, &without_norm()), 3, 3e-6);
    }
}

#[test]
fn simclr_in_parts_compares_the_whole_batch() {
    check(&|groups| simclr(0, &transformer(groups, 0.0)), 1, 5e-5);
}

#[test]
fn moco_v3_in_parts_compares_the_whole_batch() {
    check(&|groups| moco_v3(&transformer(groups, 0.0)), 1, 5e-5);
}

/// BYOL's loss is a mean over the images, so that parts of their own are the same, too.
#[test]
fn byol_in_parts_is_the_same_either_way() {
    let neighbours: Vec<usize> = (0..BATCH).collect();
    let run = |parts| train(3, byol(&transformer(1, 0.0)), &neighbours, parts);
    let (losses, apart) = run(Parts { count: 2, exact: false });
    let (exact_losses, exact) = run(Parts { count: 2, exact: true });
    for (apart, exact) in losses.iter().zip(exact_losses) {
        assert!((apart - exact).abs() < 1e-5 * apart, "{exact}, not {apart}");
    }
    let distance = off(&state(exact), &state(apart));
    assert!(distance < 1e-5, "the whole state is off by {distance:.1e}");
}

/// Two passes leave what one would: running statistics that moved once, drop-path's counter, keys.
#[test]
fn a_second_pass_leaves_no_trace() {
    let order: Vec<usize> = (0..BATCH).collect();
    let network = transformer(1, 0.3);
    let makes: [&dyn Fn() -> Box<dyn Method>; 4] =
        [&|| simclr(20, &network), &|| moco_v3(&network), &|| byol(&network), &|| {
            invaspread(InvaSpreadGradient::Row, &network)
        }];
    for (i, make) in makes.into_iter().enumerate() {
        let (losses, once) = train(3, make(), &order, Parts { count: 1, exact: false });
        let (exact_losses, twice) = train(3, make(), &order, Parts { count: 1, exact: true });
        for (once, twice) in losses.iter().zip(exact_losses) {
            assert!((once - twice).abs() < 1e-6 * once, "method {i}: {twice}, not {once}");
        }
        let distance = off(&state(twice), &state(once));
        assert!(distance < 2e-6, "method {i}: the whole state is off by {distance:.1e}");
    }
}
