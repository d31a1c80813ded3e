//! LibTorch's nodes on its CPU against our kernels on ours: outputs, statistics and every gradient.

use super::to_nchw;
use crate::batch::to_host;
use crate::device::{Device, parse};
use crate::nn::{BatchNorm, Buffer, Conv, ConvNorm, Mode, Param, TensorLeaf, init, residual};
use crate::nn::{conv_norm_act, tensors};
use crate::ops::attention::attention;
use crate::ops::conv::{Filter, conv_bias};
use crate::ops::gelu::{Gelu, gelu};
use crate::ops::info_nce::{info_nce, softmax_over_bank};
use crate::ops::layer_norm::layer_norm;
use crate::ops::linear::{linear, linear_gelu};
use crate::ops::pool::{global_average_pool, max_pool};
use crate::ops::update::{average_all, replace_rows};
use crate::ops::{Engine, Epilogue};
use crate::rng::{Purpose, stream};
use burn::tensor::Tensor;

type Values = Vec<(String, Vec<f32>)>;

fn libtorch() -> Device {
    let device = parse("libtorch-cpu").expect("this build has it");
    assert_eq!(Engine::of(&device), Engine::LibTorch);
    device
}

/// A normal leaf, the same on all devices.
fn draw<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let rng = &mut stream(seed, Purpose::Weights, 0);
    init::normal(shape, 1.0, rng, &device.clone().autodiff()).require_grad()
}

/// The output of `f`, and the gradients of its leaves for a random cotangent.
fn values<const D: usize>(out: Tensor<D>, leaves: &[(&str, &dyn TensorLeaf)]) -> Values {
    let rng = &mut stream(99, Purpose::Weights, 0);
    let cotangent = init::normal(out.dims(), 1.0, rng, &out.device());
    let gradients = (out.clone() * cotangent).sum().backward();
    let mut all = vec![("output".to_owned(), to_host(out.without_autodiff()))];
    for (name, leaf) in leaves {
        let gradient = leaf.gradient(&gradients).expect("a gradient of every leaf");
        all.push((format!("gradient of {name}"), to_host(gradient)));
    }
    all
}

/// Two computations in f32, in other orders and one with Winograd: a few roundings of the largest
/// value. The seeds are ones where no ReLU flips.
fn assert_near(found: &Values, expected: &Values, bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, a), (_, b)) in found.iter().zip(expected) {
        assert_eq!(a.len(), b.len(), "{what}, {name}");
        let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        assert!(off < bound, "{what}, {name}: off by {off:.1e}");
    }
}

fn check(what: &str, run: impl Fn(&Device) -> Values) {
    assert_near(&run(&libtorch()), &run(&Device::flex()), 3e-5, what);
}

/// A layer with its normalisation, and its input.
fn layer(
    [inputs, outputs, kernel, stride]: [usize; 4],
    groups: usize,
    seed: u64,
    device: &Device,
) -> (Conv, ConvNorm) {
    let device = device.clone().autodiff();
    let rng = &mut stream(seed, Purpose::Weights, 7);
    let mut norm = BatchNorm::new(outputs, groups, &device);
    norm.weight = Param::new(init::normal([outputs], 0.3, rng, &device) + 1.0);
    norm.bias = Param::new(init::normal([outputs], 0.3, rng, &device));
    (Conv::new(inputs, outputs, kernel, stride, rng, &device), ConvNorm::Batch(norm))
}

#[test]
fn convolutions_equal_our_kernels_with_running_statistics_and_gradients() {
    for [n, side, inputs, outputs, kernel, stride, groups] in [
        [8, 12, 3, 5, 3, 1, 1],
        [8, 12, 16, 16, 3, 1, 4],
        [4, 9, 8, 24, 3, 2, 2],
        [6, 7, 8, 16, 1, 2, 3],
        // Fewer channels than oneDNN computes at once.
        [32, 32, 4, 8, 1, 2, 1],
        [2, 15, 3, 8, 7, 2, 1],
    ] {
        for then in ["nothing", "relu", "add", "pool"] {
            check(&format!("{n} of {side}, {inputs}-{outputs} by {kernel}, {then}"), |device| {
                let x = Param::new(draw(1, [n, side, side, inputs], device));
                let out = side.div_ceil(stride);
                let skip = Param::new(draw(2, [n, out, out, outputs], device));
                let (conv, mut norm) = layer([inputs, outputs, kernel, stride], groups, 3, device);
                let epilogue = match then {
                    "nothing" => Epilogue::Nothing,
                    "relu" => Epilogue::Relu,
                    "add" => Epilogue::AddRelu(skip.val()),
                    _ => Epilogue::ReluMaxPool,
                };
                let y = conv_norm_act(x.val(), &conv, &mut norm, epilogue, Mode::Train);
                let ConvNorm::Batch(norm) = &norm else { unreachable!() };
                let mut leaves: Vec<(&str, &dyn TensorLeaf)> = vec![
                    ("x", &x),
                    ("weight", &conv.weight),
                    ("scale", &norm.weight),
                    ("shift", &norm.bias),
                ];
                if then == "add" {
                    leaves.push(("skip", &skip));
                }
                let mut all = values(y, &leaves);
                for (name, running) in
                    [("mean", &norm.running_mean), ("variance", &norm.running_var)]
                {
                    all.push((name.to_owned(), to_host(running.val())));
                }
                all
            });
        }
    }
}

#[test]
fn running_statistics_in_evaluation_are_used_and_left_alone() {
    check("evaluation", |device| {
        let (conv, mut norm) = layer([3, 8, 3, 2], 1, 4, device);
        let x = draw(5, [4, 9, 9, 3], device);
        conv_norm_act(x.clone(), &conv, &mut norm, Epilogue::Relu, Mode::Train);
        let plain = x.without_autodiff();
        let mut all = Vec::new();
        for then in [Epilogue::Nothing, Epilogue::Relu, Epilogue::ReluMaxPool] {
            let y = conv_norm_act(plain.clone(), &conv, &mut norm, then, Mode::Eval);
            all.push(("output".to_owned(), to_host(y.without_autodiff())));
        }
        for (name, tensor) in tensors(&mut norm) {
            all.push((name, to_host(tensor)));
        }
        all
    });
}

#[test]
fn blocks_equal_our_kernels() {
    let cases: [(&[[usize; 4]], Option<[usize; 4]>); 4] = [
        (&[[8, 8, 3, 1], [8, 8, 3, 1]], None),
        (&[[8, 16, 3, 2], [16, 16, 3, 1]], Some([8, 16, 1, 2])),
        (&[[8, 5, 1, 1], [5, 5, 3, 1], [5, 8, 1, 1]], None),
        (&[[8, 5, 1, 1], [5, 5, 3, 2], [5, 20, 1, 1]], Some([8, 20, 1, 2])),
    ];
    for (sizes, projection) in cases {
        for groups in [1, 3] {
            check(&format!("{sizes:?}, {groups} groups"), |device| {
                let x = Param::new(draw(6, [6, 7, 7, 8], device));
                let make =
                    |(i, sizes): (usize, [usize; 4])| layer(sizes, groups, 10 + i as u64, device);
                let mut layers: Vec<_> = sizes.iter().copied().enumerate().map(make).collect();
                let mut skip = projection.map(|sizes| make((9, sizes)));
                let pairs = layers.iter_mut().map(|(conv, norm)| (&*conv, norm)).collect();
                let projected = skip.as_mut().map(|(conv, norm)| (&*conv, norm));
                let y = residual(x.val(), pairs, projected, Mode::Train);
                let mut all = Vec::new();
                let mut leaves: Vec<(&str, &dyn TensorLeaf)> = vec![("x", &x)];
                for (conv, norm) in layers.iter().chain(&skip) {
                    let ConvNorm::Batch(norm) = norm else { unreachable!() };
                    leaves.push(("weight", &conv.weight));
                    leaves.push(("scale", &norm.weight));
                    leaves.push(("shift", &norm.bias));
                    all.push(("mean".to_owned(), to_host(norm.running_mean.val())));
                    all.push(("variance".to_owned(), to_host(norm.running_var.val())));
                }
                all.extend(values(y, &leaves));
                all
            });
        }
    }
}

#[test]
fn other_layers_equal_our_kernels() {
    check("convolution with a bias", |device| {
        let x = Param::new(draw(11, [3, 8, 8, 4], device));
        let weight = Param::new(draw(12, [6, 4, 4, 4], device));
        let bias = Param::new(draw(13, [6], device));
        let filter = Filter { weight: weight.val(), stride: 4, frozen: None };
        let y = conv_bias(x.val(), filter, Some(bias.val()), Epilogue::Nothing);
        values(y, &[("x", &x), ("weight", &weight), ("bias", &bias)])
    });
    for side in [7, 8] {
        check("pools", |device| {
            let x = Param::new(draw(14, [2, side, side, 5], device));
            let mut all = values(max_pool(x.val()), &[("x", &x)]);
            all.extend(values(global_average_pool(x.val()), &[("x", &x)]));
            all
        });
    }
    for kind in [None, Some(Gelu::Erf), Some(Gelu::Tanh)] {
        check(&format!("linear, {kind:?}"), |device| {
            let x = Param::new(draw(15, [2, 17, 48], device));
            let weight = Param::new(draw(16, [96, 48], device));
            let bias = Param::new(draw(17, [96], device));
            let y = linear_gelu(x.val(), weight.val(), Some(bias.val()), kind, None);
            values(y, &[("x", &x), ("weight", &weight), ("bias", &bias)])
        });
    }
    check("linear without a bias, GELU, LayerNorm", |device| {
        let x = Param::new(draw(18, [5, 24], device));
        let weight = Param::new(draw(19, [24, 24], device));
        let [scale, shift] = [20, 21].map(|seed| Param::new(draw(seed, [24], device)));
        let y = gelu(linear(x.val(), weight.val(), None), Gelu::Erf);
        let y = layer_norm(y, scale.val(), shift.val(), 1e-6);
        values(y, &[("x", &x), ("weight", &weight), ("scale", &scale), ("shift", &shift)])
    });
    for (tokens, queries) in [(17, 17), (17, 1), (65, 6)] {
        check(&format!("attention, {queries} of {tokens}"), |device| {
            let qkv = Param::new(draw(22, [3, tokens, 3 * 2 * 16], device));
            values(attention(qkv.val(), 2, queries), &[("qkv", &qkv)])
        });
    }
    check("InfoNCE and a bank", |device| {
        let q = Param::new(draw(23, [6, 16], device));
        let k = draw(24, [6, 16], device).without_autodiff();
        let queue = draw(25, [40, 16], device).without_autodiff();
        let contrast = info_nce(q.val(), k, queue.clone(), None, 0.5);
        let mut all = vec![("accuracy".to_owned(), to_host(contrast.accuracy))];
        all.extend(values(contrast.loss, &[("q", &q)]));
        let contrast = softmax_over_bank(q.val(), queue, &[3, 1, 39, 0, 1, 7], 0.5);
        all.push(("accuracy".to_owned(), to_host(contrast.accuracy)));
        all.extend(values(contrast.loss, &[("q", &q)]));
        all
    });
    check("moving average", |device| {
        let plain = |seed, n: usize| draw(seed, [n], device).without_autodiff();
        let pairs = vec![(plain(26, 5), plain(27, 5)), (plain(28, 33), plain(29, 33))];
        let mixed = average_all(pairs, 0.99).into_iter();
        mixed.map(|tensor| ("mixed".to_owned(), to_host(tensor))).collect()
    });
}

/// What a trunk hands from layer to layer lies in memory as LibTorch's convolutions prefer it, forwards
/// and backwards, so that none of them copies it.
#[test]
fn the_trunk_stays_channels_last() {
    let device = libtorch();
    let (first, mut first_norm) = layer([3, 8, 3, 1], 1, 30, &device);
    let (conv, mut norm) = layer([8, 8, 3, 1], 1, 31, &device);
    let x = draw(32, [4, 9, 9, 3], &device);
    let is_channels_last = |y: &Tensor<4>| {
        let y = super::shared(y.clone().without_autodiff());
        moco_torch::memory::is_channels_last(&to_nchw(&y))
    };
    let y = conv_norm_act(x.clone(), &first, &mut first_norm, Epilogue::Relu, Mode::Train);
    assert!(is_channels_last(&x) && is_channels_last(&y), "a layer's output");
    let z = Param::new(y.detach());
    let out = residual(z.val(), vec![(&conv, &mut norm)], None, Mode::Train);
    assert!(is_channels_last(&out), "a block's output");
    let gradients = out.square().sum().backward();
    assert!(is_channels_last(&z.val().grad(&gradients).expect("a gradient")), "a gradient");
}

/// A buffer and a parameter whose handle is the only one are worked on in place.
#[test]
fn updates_are_in_place_where_nobody_else_looks() {
    let plain = |seed| Buffer::new(draw(seed, [7], &libtorch()));
    let (mut theta, target) = (plain(36), plain(37));
    let address = |buffer: &Buffer<1>| super::shared(buffer.val()).data_ptr();
    let before = address(&theta);
    let mixed = average_all(vec![(theta.take_flat(), target.val())], 0.5);
    mixed.into_iter().for_each(|mixed| theta.set_flat(mixed));
    assert_eq!(address(&theta), before);
    let seen = theta.val();
    let values = to_host(seen.clone());
    let mixed = average_all(vec![(theta.take_flat(), target.val())], 0.5);
    mixed.into_iter().for_each(|mixed| theta.set_flat(mixed));
    assert_eq!(to_host(seen), values, "another handle keeps its values");

    let rows = |seed, n| draw(seed, [n, 3], &libtorch()).without_autodiff();
    let (mut bank, new) = (Buffer::new(rows(38, 5)), rows(39, 2));
    let address = |buffer: &Buffer<2>| super::shared(buffer.val()).data_ptr();
    let (before, mut expected) = (address(&bank), to_host(bank.val()));
    for (at, row) in [4, 1].into_iter().zip(to_host(new.clone()).chunks(3)) {
        expected[3 * at..][..3].copy_from_slice(row);
    }
    bank.update(|rows| replace_rows(rows, &[4, 1], new));
    assert_eq!((address(&bank), to_host(bank.val())), (before, expected));
}
