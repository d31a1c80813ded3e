//! Milliseconds and GFLOP/s of each convolution of a ResNet-18 with the CIFAR stem.
//!
//! `cargo run --release -p moco-kernels --example bench_conv [-- --isa avx2] [--widths 8,16,64]
//! [--batch 64]`
//!
//! GFLOP/s count the direct convolution's operations, so Winograd may exceed the measured peak.
//! Each figure is the best of several runs: on a shared machine the best says most about the code.
//! Set `MIMALLOC_PURGE_DELAY=-1`, as the application does, or page faults are measured too.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use moco_kernels::conv::{ConvShape, conv_data_grad, conv_forward, conv_weight_grad};
use moco_kernels::{Isa, kept_bytes, machine};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let argument = |name: &str| {
        let mut args = std::env::args().skip_while(|a| a != name).skip(1);
        args.next()
    };
    let isa = argument("--isa").and_then(|name| Isa::from_name(&name)).unwrap_or_else(Isa::best);
    let batch = argument("--batch").and_then(|n| n.parse().ok()).unwrap_or(64);
    let widths = argument("--widths").unwrap_or("8,16,64".into());
    println!(
        "{isa:?}, {} threads, FMA peak {:.0} GFLOP/s, copy {:.1} GB/s, batch {batch}",
        rayon::current_num_threads(),
        machine::fma_peak(isa),
        machine::copy_bandwidth()
    );
    println!("{:30} {:>8} {:>16} {:>16} {:>16}", "layer", "GFLOP", "forward", "dx", "dW");
    for width in widths.split(',').filter_map(|w| w.parse().ok()) {
        let mut total = [0.0; 3];
        for (count, shape) in layers(width, batch) {
            let ms = measure(isa, &shape);
            print_row(&shape, ms);
            for (sum, ms) in total.iter_mut().zip(ms) {
                *sum += ms * count as f64;
            }
        }
        let [forward, dx, dw] = total;
        println!("width {width}: network {forward:.1} + {dx:.1} + {dw:.1} ms");
    }
    println!("kept between calls: {:.1} MiB", kept_bytes() as f64 / f64::from(1 << 20));
}

/// The network's distinct convolutions and how often each occurs.
fn layers(width: usize, n: usize) -> Vec<(usize, ConvShape)> {
    let conv = |side, cin, cout, k, stride| ConvShape {
        n,
        h: side,
        w: side,
        cin,
        cout,
        k,
        stride,
        pad: k / 2,
    };
    let mut layers = vec![(1, conv(32, 3, width, 3, 1)), (4, conv(32, width, width, 3, 1))];
    for stage in 1..4 {
        let (side, cin) = (32 >> (stage - 1), width << (stage - 1));
        layers.push((1, conv(side, cin, 2 * cin, 3, 2)));
        layers.push((1, conv(side, cin, 2 * cin, 1, 2)));
        layers.push((3, conv(side / 2, 2 * cin, 2 * cin, 3, 1)));
    }
    layers
}

fn measure(isa: Isa, shape: &ConvShape) -> [f64; 3] {
    let ramp = |len: usize| (0..len).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect::<Vec<_>>();
    let (x, w, dy) = (ramp(shape.x_len()), ramp(shape.weight_len()), ramp(shape.out_len()));
    [
        best_of(|| conv_forward(isa, shape, &x, &w, None)),
        best_of(|| conv_data_grad(isa, shape, &dy, &w)),
        best_of(|| conv_weight_grad(isa, shape, &x, &dy)),
    ]
}

fn best_of(mut f: impl FnMut() -> Vec<f32>) -> f64 {
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

fn print_row(shape: &ConvShape, ms: [f64; 3]) {
    let &ConvShape { h, cin, cout, k, stride, .. } = shape;
    let name = format!("{h}x{h} {cin}-{cout} {k}x{k} s{stride}");
    let rate = |ms: f64| format!("{ms:8.2} ({:5.0})", shape.flops() / ms / 1e6);
    let [forward, dx, dw] = ms.map(rate);
    println!("{name:30} {:8.2} {forward:>16} {dx:>16} {dw:>16}", shape.flops() / 1e9);
}
