//! What fine-tuning makes of a pre-trained network.

use crate::device::device;
use crate::golden::{Golden, assert_close, difference, resnet18_w4, set_tensors};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::FeatureKind;
use moco::eval::{Classifier, Readout, Refit, cross_entropy};
use moco::models::{Encode, Encoder, MlpSpec, Vit, VitConfig};
use moco::nn::{EPSILON, Mode, for_each_param, init, tensors};
use moco::rng::{Purpose, stream};

const OUTPUTS: usize = 8;

/// The transformer of `vit_tiny_state`, as if it had been pre-trained.
fn pretrained(state: &Golden, drop_path: f64) -> Box<Vit> {
    let config = VitConfig { drop_path, ..VitConfig::of_size([24, 2, 3], 4, [16, 16]) };
    let rng = &mut stream(0, Purpose::Weights, 0);
    let mut net = Vit::new(&config, rng, &device().autodiff());
    set_tensors(&mut net, |name| Some(state.f32(name)));
    Box::new(net)
}

fn refitted(state: &Golden, drop_path: f64, refit: Refit) -> Classifier {
    let encoder = pretrained(state, drop_path);
    Classifier::refitted(encoder, &refit, OUTPUTS, 0, &device().autodiff())
}

/// The tolerances are those of the network by itself, in vit.rs.
#[test]
fn patches_pooled_anew_match_timms_average_pooling() {
    let (state, golden) = (Golden::open("vit_tiny_state"), Golden::open("vit_tiny_expected"));
    let refit = Refit { readout: Readout::PatchMean, drop_path: 0.0 };
    let mut net = refitted(&state, 0.0, refit);
    let fresh = tensors(&mut net);
    assert_eq!(to_host(fresh["backbone.fc_norm.weight"].clone()), [1.0; 24]);
    assert_eq!(to_host(fresh["backbone.fc_norm.bias"].clone()), [0.0; 24]);

    // timm's name of one of ours, and the file's: there the new norm has the old one's values.
    let timm = |name: &str| name.trim_start_matches("backbone.").to_owned();
    set_tensors(&mut net, |name| Some(state.f32(&timm(name).replace("fc_norm", "norm"))));
    let out = net.forward(golden.tensor("x"), Mode::Train);
    assert_close(out.clone(), &golden, "avg.out", 5e-6);
    let gradients = (out * golden.tensor::<2>("cotangent")).sum().backward();
    for_each_param(&mut net, |name, param| {
        let gradient = param.gradient(&gradients).unwrap_or_else(|| panic!("none of {name}"));
        assert_close(gradient, &golden, &format!("avg.grad.{}", timm(name)), 1e-5);
    });
}

/// Drop-path acts in training alone, at the rate of fine-tuning and not that of pre-training.
#[test]
fn drop_path_is_that_of_fine_tuning() {
    let state = Golden::open("vit_tiny_state");
    let x: Tensor<4> = Golden::open("vit_tiny_expected").tensor("x");
    let with =
        |before, drop_path| refitted(&state, before, Refit { readout: Readout::Own, drop_path });
    let run = |net: &mut Classifier, mode| to_host(net.forward(x.clone(), mode));

    let mut off = with(0.5, 0.0);
    let still = run(&mut off, Mode::Eval);
    assert_eq!(run(&mut off, Mode::Train), still);
    let (mut on, mut again) = (with(0.0, 0.5), with(0.0, 0.5));
    assert_eq!(run(&mut on, Mode::Eval), still);
    let dropped: Vec<_> = (0..4).map(|_| run(&mut on, Mode::Train)).collect();
    assert!(dropped.iter().any(|pass| *pass != still));
    assert!(dropped.iter().any(|pass| *pass != dropped[0]), "every pass draws anew");
    let repeated: Vec<_> = (0..4).map(|_| run(&mut again, Mode::Train)).collect();
    assert_eq!(repeated, dropped, "a function of the seed");
}

/// SimCLR v2's head of three layers: what is left is `relu(norm(W x))`, by loops, with the running
/// statistics of a new BatchNorm; and it is trained.
#[test]
fn simclr_v2_is_fine_tuned_from_the_first_layer_of_its_head() {
    let head = |width| MlpSpec::normalized(vec![width; 2], 6);
    let (plain, device) = (device(), device().autodiff());
    let mut encoder = Encoder::new(&resnet18_w4(1), head, &device);
    let x = init::normal([3, 16, 16, 3], 1.0, &mut stream(1, Purpose::Weights, 0), &plain);
    let features = to_host(encoder.embed(x.clone(), FeatureKind::Backbone, Mode::Eval));
    let width = encoder.width(FeatureKind::Backbone);

    let refit = Refit { readout: Readout::Projector, drop_path: 0.0 };
    let mut net = Classifier::refitted(Box::new(encoder), &refit, OUTPUTS, 0, &device);
    let found = to_host(net.forward(x.clone(), Mode::Eval));
    let state = tensors(&mut net);
    let weights = |name: &str| to_host(state[name].clone());
    let (first, last) = (weights("projector.0.weight"), weights("head.weight"));
    let dot =
        |row: &[f32], x: &[f64]| -> f64 { row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum() };
    let expected: Vec<f64> = features
        .chunks_exact(width)
        .flat_map(|x| {
            let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            let normed = |row: &[f32]| (dot(row, &x) / (1.0 + EPSILON).sqrt()).max(0.0);
            let hidden: Vec<f64> = first.chunks_exact(width).map(normed).collect();
            last.chunks_exact(width).map(|row| dot(row, &hidden)).collect::<Vec<_>>()
        })
        .collect();
    // Two products of 32 numbers in f32.
    let off = difference(&found, &expected);
    assert!(off < 5e-6, "off by {off:.1e}");

    let gradients = cross_entropy(net.forward(x, Mode::Train), &[0, 1, 2], 0.0).backward();
    let mut beyond = Vec::new();
    for_each_param(&mut net, |name, param| {
        assert!(param.gradient(&gradients).is_some(), "{name}");
        if !name.starts_with("backbone.") {
            beyond.push(name.to_owned());
        }
    });
    let layer = ["weight", "norm.weight", "norm.bias"].map(|name| format!("projector.0.{name}"));
    assert_eq!(beyond[..3], layer);
    assert_eq!(beyond[3..], ["head.weight", "head.bias"]);
}
