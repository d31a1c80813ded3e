//! Milliseconds and GFLOP/s of each distinct layer of a ResNet-18 with the CIFAR stem (32 px) or of
//! a ResNet-50 (224 px), and their sums over the network.
//!
//! `cargo run --release -p moco-kernels --features allocator --example bench_conv [-- --net resnet50]
//! [--isa avx2] [--widths 8,16,64] [--batch 16] [--only 3x3] [--columns dx,dW]`
//!
//! `forward`, `dx` and `dW` are the convolutions alone; `train`, `key` and `back` are the fused layer
//! with BatchNorm and ReLU: forward with and without keeping what backward needs, and backward.
//! GFLOP/s count the direct convolution's operations, so Winograd may exceed the measured peak.
//! Each figure is the best of several runs: on a shared machine the best says most about the code.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use moco_kernels::conv::{
    BnActNeeds, BnParams, ConvShape, Norm, conv_bn_act_backward, conv_bn_act_forward,
    conv_data_grad, conv_forward, conv_weight_grad,
};
use moco_kernels::{Isa, kept_bytes, machine};

#[global_allocator]
static ALLOCATOR: moco_kernels::Allocator = moco_kernels::Allocator;

fn main() {
    let argument = |name: &str| {
        let mut args = std::env::args().skip_while(|a| a != name).skip(1);
        args.next()
    };
    let isa = argument("--isa").and_then(|name| Isa::from_name(&name)).unwrap_or_else(Isa::best);
    let net = argument("--net").unwrap_or("resnet18".into());
    let deep = net == "resnet50";
    let batch =
        argument("--batch").and_then(|n| n.parse().ok()).unwrap_or(if deep { 16 } else { 64 });
    let widths = argument("--widths").unwrap_or("64".into());
    let only = argument("--only").unwrap_or_default();
    let columns = argument("--columns").unwrap_or(COLUMNS.join(","));
    let chosen = COLUMNS.map(|name| columns.split(',').any(|column| column == name));
    let peak = machine::fma_peak(isa);
    println!(
        "{net}, {isa:?}, {} threads, FMA peak {peak:.0} GFLOP/s, copy {:.1} GB/s, batch {batch}",
        rayon::current_num_threads(),
        machine::copy_bandwidth()
    );
    println!(
        "{:>3} {:26} {:>6} {}",
        "",
        "layer",
        "GFLOP",
        COLUMNS.map(|c| format!("{c:>13}")).join(" ")
    );
    for width in widths.split(',').filter_map(|w| w.parse().ok()) {
        let layers = if deep { resnet50(width, batch) } else { resnet18(width, batch) };
        let mut total = [0.0; COLUMNS.len()];
        for (count, shape) in layers {
            let name = name(&shape);
            if !name.contains(&only) {
                continue;
            }
            let ms = measure(isa, &shape, chosen);
            print_row(count, &name, &shape, ms);
            for (sum, ms) in total.iter_mut().zip(ms) {
                *sum += ms * count as f64;
            }
        }
        println!(
            "width {width}: network{:20} {}",
            "",
            total.map(|ms| format!("{ms:13.1}")).join(" ")
        );
    }
    println!("kept between calls: {:.1} MiB", kept_bytes() as f64 / f64::from(1 << 20));
}

const COLUMNS: [&str; 6] = ["forward", "dx", "dW", "train", "key", "back"];

fn conv(n: usize, side: usize, cin: usize, cout: usize, k: usize, stride: usize) -> ConvShape {
    ConvShape { n, h: side, w: side, cin, cout, k, stride, pad: k / 2 }
}

/// The network's distinct convolutions and how often each occurs.
fn resnet18(width: usize, n: usize) -> Vec<(usize, ConvShape)> {
    let mut layers = vec![(1, conv(n, 32, 3, width, 3, 1)), (4, conv(n, 32, width, width, 3, 1))];
    for stage in 1..4 {
        let (side, cin) = (32 >> (stage - 1), width << (stage - 1));
        layers.push((1, conv(n, side, cin, 2 * cin, 3, 2)));
        layers.push((1, conv(n, side, cin, 2 * cin, 1, 2)));
        layers.push((3, conv(n, side / 2, 2 * cin, 2 * cin, 3, 1)));
    }
    layers
}

/// The same of a ResNet-50 at 224 px, with the stride in the 3x3 convolution.
fn resnet50(width: usize, n: usize) -> Vec<(usize, ConvShape)> {
    let mut layers = vec![(1, conv(n, 224, 3, width, 7, 2))];
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (side, inner) = (56 >> stage, width << stage);
        let (cin, before, stride) =
            if stage == 0 { (width, side, 1) } else { (2 * inner, 2 * side, 2) };
        layers.push((1, conv(n, before, cin, inner, 1, 1)));
        layers.push((1, conv(n, before, inner, inner, 3, stride)));
        layers.push((1, conv(n, before, cin, 4 * inner, 1, stride)));
        layers.push((blocks, conv(n, side, inner, 4 * inner, 1, 1)));
        layers.push((blocks - 1, conv(n, side, 4 * inner, inner, 1, 1)));
        layers.push((blocks - 1, conv(n, side, inner, inner, 3, 1)));
    }
    layers
}

fn measure(isa: Isa, shape: &ConvShape, chosen: [bool; COLUMNS.len()]) -> [f64; COLUMNS.len()] {
    let ramp = |len: usize| (0..len).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect::<Vec<_>>();
    let (x, w, dy) = (ramp(shape.x_len()), ramp(shape.weight_len()), ramp(shape.out_len()));
    let (gamma, beta) = (vec![1.0; shape.cout], vec![0.0; shape.cout]);
    let norm = Norm::Batch { groups: 1 };
    let bn = BnParams { gamma: &gamma, beta: &beta, eps: 1e-5, norm };
    let layer = |keep| conv_bn_act_forward(isa, shape, &x, (&w).into(), &bn, None, true, keep);
    let forward = layer(true);
    let saved = forward.saved.expect("asked to keep it");
    let needs = BnActNeeds { x: shape.cin > 3, weight: true, affine: true, skip: false };
    let run = |column: usize| match column {
        0 => best_of(|| conv_forward(isa, shape, &x, &w, None)),
        // The stem's input is the image, which needs no gradient.
        1 if shape.cin == 3 => 0.0,
        1 => best_of(|| conv_data_grad(isa, shape, &dy, &w)),
        2 => best_of(|| conv_weight_grad(isa, shape, &x, &dy)),
        3 => best_of(|| layer(true)),
        4 => best_of(|| layer(false)),
        _ => {
            let out = &forward.out;
            best_of(|| conv_bn_act_backward(isa, shape, &x, &w, &saved, out, &dy, needs))
        }
    };
    std::array::from_fn(|column| if chosen[column] { run(column) } else { 0.0 })
}

fn best_of<T>(mut f: impl FnMut() -> T) -> f64 {
    black_box(f());
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed() < Duration::from_millis(120) {
        let start = Instant::now();
        black_box(f());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best * 1e3
}

fn name(shape: &ConvShape) -> String {
    let &ConvShape { h, cin, cout, k, stride, .. } = shape;
    format!("{h}x{h} {cin}-{cout} {k}x{k} s{stride}")
}

fn print_row(count: usize, name: &str, shape: &ConvShape, ms: [f64; COLUMNS.len()]) {
    let rate = |ms: f64| match ms {
        0.0 => String::new(),
        ms => format!("{ms:.2} ({:4.0})", shape.flops() / ms / 1e6),
    };
    let cells = ms.map(|ms| format!("{:>13}", rate(ms))).join(" ");
    println!("{count:2}x {name:26} {:6.2} {cells}", shape.flops() / 1e9);
}
