//! Residual networks against torchvision: outputs, every gradient, running statistics.
//!
//! On these networks, which were chosen so that no ReLU sits near its kink, torch's own f32 is up to
//! 3e-6 (outputs) and 2.4e-5 (gradients) away from its f64 (golden/MANIFEST.json). Ours sums in
//! another order, and its Winograd convolutions round two to three times as much: 2e-5 and 1e-4.

use crate::device::device;
use crate::golden::{
    self, Golden, assert_close, check_digest, formula, set_tensors, tensor, torch_name,
};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::StemKind;
use moco::models::{Architecture, Encoder, MlpSpec};
use moco::nn::{Leaf, Mode, for_each_leaf, for_each_param};

const TOLERANCE: f64 = 2e-5;
const GRADIENT_TOLERANCE: f64 = 1e-4;

fn encoder(backbone: &str, width: usize, stem: StemKind) -> Encoder {
    let network = golden::resnet(backbone, width, stem);
    Encoder::new(&network, |_| MlpSpec::linear(8), &device().autodiff())
}

fn check_narrow(backbone: &str, stem: StemKind) {
    let state = Golden::open(&format!("{backbone}_w4_state"));
    let expected = Golden::open(&format!("{backbone}_w4_expected"));
    let mut net = encoder(backbone, 4, stem);
    set_tensors(&mut net, |name| Some(state.f32(&torch_name(name, false))));

    let x: Tensor<4> = expected.tensor("x");
    let features = net.backbone.forward(x.clone(), Mode::Train);
    assert_close(features.clone(), &expected, "features", TOLERANCE);
    let out = net.head.forward(features, Mode::Train);
    assert_close(out.clone(), &expected, "out", TOLERANCE);

    let gradients = (out * expected.tensor::<2>("cotangent")).sum().backward();
    for_each_param(&mut net, |name, param| {
        let gradient = param.gradient(&gradients).expect("a gradient for every parameter");
        let name = format!("grad.{}", torch_name(name, false));
        assert_close(gradient, &expected, &name, GRADIENT_TOLERANCE);
    });
    for_each_leaf(&mut net, |name, leaf| {
        if let Leaf::Buffer(statistic) = leaf {
            let name = format!("after.{}", torch_name(name, false));
            assert_close(statistic.flat(), &expected, &name, TOLERANCE);
        }
    });
    assert_close(net.forward(x, Mode::Eval), &expected, "eval_out", TOLERANCE);
}

#[test]
fn narrow_resnet18_matches_torchvision() {
    check_narrow("resnet18", StemKind::Cifar);
}

#[test]
fn narrow_resnet50_matches_torchvision() {
    check_narrow("resnet50", StemKind::Imagenet);
}

/// Parameter number `i` in torchvision's order (golden/resnet.py, `formula_parameter`).
fn formula_parameter(i: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    if shape.len() > 1 {
        let fan_in: usize = shape[1..].iter().product();
        return formula(i, count, (6.0 / fan_in as f64).sqrt(), 0.0);
    }
    match name {
        "fc.bias" => formula(i, count, 0.1, 0.0),
        _ if name.ends_with("weight") => formula(i, count, 0.1, 0.5),
        _ => {
            let mut bias = formula(i, count, 0.2, 1.2);
            bias.iter_mut().skip(3).step_by(4).for_each(|b| *b = -*b);
            bias
        }
    }
}

fn check_full_width(backbone: &str, stem: StemKind, size: usize, input_stream: u64) {
    let golden = Golden::open(&format!("{backbone}_w64_digest"));
    let mut net = encoder(backbone, 64, stem);
    let mut index = 0;
    for_each_param(&mut net, |name, param| {
        let shape = param.shape();
        let values = formula_parameter(index, &torch_name(name, false), &shape);
        let n = values.len();
        param.set_flat(tensor(values, [n]));
        index += 1;
    });

    let x = tensor(formula(input_stream, 2 * size * size * 3, 1.0, 0.0), [2, size, size, 3]);
    let features = net.backbone.forward(x, Mode::Train);
    assert_close(features.clone(), &golden, "features", TOLERANCE);
    let out = net.head.forward(features, Mode::Train);
    assert_close(out.clone(), &golden, "out", TOLERANCE);

    let cotangent = tensor(formula(10_001, 2 * 8, 1.0, 0.0), [2, 8]);
    let gradients = (out * cotangent).sum().backward();
    for_each_param(&mut net, |name, param| {
        let gradient = to_host(param.gradient(&gradients).expect("a gradient"));
        let name = format!("grad.{}", torch_name(name, false));
        check_digest(&gradient, &golden.values(&name), GRADIENT_TOLERANCE, &name);
    });
}

#[test]
fn full_resnet18_matches_torchvision() {
    check_full_width("resnet18", StemKind::Cifar, 32, 20_025);
}

#[test]
fn full_resnet50_matches_torchvision() {
    check_full_width("resnet50", StemKind::Imagenet, 64, 20_035);
}

/// torchvision's published counts, less its `fc` of 1000 classes.
#[test]
fn parameter_counts_are_the_published_ones() {
    for (name, with_fc, features) in [
        ("resnet18", 11_689_512, 512),
        ("resnet34", 21_797_672, 512),
        ("resnet50", 25_557_032, 2048),
        ("resnet101", 44_549_160, 2048),
        ("resnet152", 60_192_808, 2048),
        ("resnet200", 64_673_832, 2048),
    ] {
        let mut net = encoder(name, 64, StemKind::Imagenet);
        let fc = features * 1000 + 1000;
        assert_eq!(moco::nn::count_params(&mut net.backbone), with_fc - fc, "{name}");
        assert_eq!(net.backbone.features(), features, "{name}");
        assert!(moco::config::BACKBONES.contains(&name));
    }
    let known = moco::config::BACKBONES.iter().filter(|name| name.starts_with("resnet"));
    assert_eq!(known.count(), 6, "a new backbone needs its count here");
}

#[test]
fn zero_init_residual_makes_every_block_start_as_its_skip() {
    let mut network = golden::resnet("resnet50", 4, StemKind::Cifar);
    if let Architecture::ResNet(resnet) = &mut network.architecture {
        resnet.zero_init_residual = true;
    }
    let mut net = Encoder::new(&network, |_| MlpSpec::linear(8), &device());
    let mut zeroed = 0;
    for_each_param(&mut net, |name, param| {
        let zero = to_host(param.flat()).iter().all(|v| *v == 0.0);
        if name.ends_with("bn3.weight") {
            assert!(zero, "{name}");
            zeroed += 1;
        } else if name.ends_with("weight") {
            assert!(!zero, "{name}");
        }
    });
    assert_eq!(zeroed, 3 + 4 + 6 + 3);
}
