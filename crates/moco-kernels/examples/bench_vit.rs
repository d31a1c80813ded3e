//! Milliseconds of each kernel of a Vision Transformer's training step and of the contrastive loss.
//!
//! `cargo run --release -p moco-kernels --features allocator --example bench_vit [-- --isa avx2]
//! [--batch 8] [--width 384]`
//!
//! The defaults are a ViT-S/16 at 224 pixels: 197 tokens of 384 floats, 6 heads. GFLOP/s count
//! matrix products only. Each figure is the best of several runs: on a shared machine the best says
//! most about the code.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use moco_kernels::attention::{
    AttentionOutput, AttentionShape, attention_backward, attention_forward,
};
use moco_kernels::contrast::{ContrastNeeds, ContrastShape, Positives, contrast};
use moco_kernels::gelu::{Gelu, gelu_backward, gelu_forward};
use moco_kernels::layer_norm::{layer_norm_backward, layer_norm_forward};
use moco_kernels::linear::{
    LinearNeeds, LinearShape, linear_backward, linear_forward, linear_gelu_backward,
    linear_gelu_forward,
};
use moco_kernels::optim::{AdamWConfig, LarsConfig, Trust, TrustNorm, adamw, lars};
use moco_kernels::{Isa, kept_bytes, machine};

#[global_allocator]
static ALLOCATOR: moco_kernels::Allocator = moco_kernels::Allocator;

const TOKENS: usize = 197;

fn main() {
    let argument = |name: &str| {
        let mut args = std::env::args().skip_while(|a| a != name).skip(1);
        args.next()
    };
    let number =
        |name: &str, default| argument(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let isa = argument("--isa").and_then(|name| Isa::from_name(&name)).unwrap_or_else(Isa::best);
    let (batch, width) = (number("--batch", 8), number("--width", 384));
    println!(
        "{isa:?}, {} threads, FMA peak {:.0} GFLOP/s, copy {:.1} GB/s, batch {batch}",
        rayon::current_num_threads(),
        machine::fma_peak(isa),
        machine::copy_bandwidth()
    );
    linear(isa, batch * TOKENS, width);
    gelu(isa, batch * TOKENS * 4 * width);
    layer_norm(isa, batch * TOKENS, width);
    attention(isa, batch, width);
    info_nce(isa, 256, 65_536);
    info_nce(isa, 64, 4096);
    optimisers(isa);
    println!("kept between calls: {:.1} MiB", kept_bytes() as f64 / f64::from(1 << 20));
}

fn linear(isa: Isa, rows: usize, width: usize) {
    for (inputs, outputs) in [(1, 4), (4, 1), (1, 3), (1, 1)].map(|(i, o)| (i * width, o * width)) {
        let shape = &LinearShape { rows, inputs, outputs };
        let (x, w, b) = (ramp(shape.x_len()), ramp(shape.weight_len()), ramp(outputs));
        let (d, x, w, b) = (&ramp(shape.out_len()), &x, &w, &b[..]);
        let needs = LinearNeeds::default();
        let grads = |needs| best_of(|| linear_backward(isa, shape, x, w, d, needs));
        let ms = [
            best_of(|| linear_forward(isa, shape, x, w.into(), Some(b))),
            grads(LinearNeeds { x: true, ..needs }),
            grads(LinearNeeds { weight: true, ..needs }),
        ];
        let rates = ms.map(|ms| format!("{ms:7.2} ({:4.0})", shape.flops() / ms / 1e6));
        let [y, dx, dw] = rates;
        let name = format!("linear {rows}x{inputs}x{outputs}");
        let db = grads(LinearNeeds { bias: true, ..needs });
        println!("{name:30} forward {y}  dx {dx}  dW {dw}  db {db:.2}");
    }
    let shape = &LinearShape { rows, inputs: width, outputs: 4 * width };
    let (x, w, b) = (ramp(shape.x_len()), ramp(shape.weight_len()), ramp(4 * width));
    let (d, pre, gelu) = (ramp(shape.out_len()), ramp(shape.out_len()), Gelu::Exact);
    let needs = LinearNeeds { x: true, weight: true, bias: true };
    row(
        "linear + GELU, same size",
        [
            best_of(|| linear_gelu_forward(isa, shape, &x, (&w).into(), Some(&b), gelu, true)),
            best_of(|| linear_gelu_backward(isa, shape, &x, &w, (gelu, &pre), &d, needs)),
        ],
    );
}

fn gelu(isa: Isa, len: usize) {
    let (x, d) = (ramp(len), ramp(len));
    for gelu in [Gelu::Exact, Gelu::Tanh] {
        row(
            &format!("GELU {gelu:?} {len}"),
            [best_of(|| gelu_forward(isa, gelu, &x)), best_of(|| gelu_backward(isa, gelu, &x, &d))],
        );
    }
}

fn layer_norm(isa: Isa, rows: usize, channels: usize) {
    let (x, d) = (ramp(rows * channels), ramp(rows * channels));
    let (gamma, beta) = (ramp(channels), ramp(channels));
    let saved = layer_norm_forward(isa, &x, &gamma, &beta, 1e-6).saved;
    row(
        &format!("LayerNorm {rows}x{channels}"),
        [
            best_of(|| layer_norm_forward(isa, &x, &gamma, &beta, 1e-6)),
            best_of(|| layer_norm_backward(isa, &x, &gamma, &saved, &d, true)),
        ],
    );
}

fn attention(isa: Isa, batch: usize, width: usize) {
    let head_dim = 64;
    let heads = width / head_dim;
    let shape = &AttentionShape { batch, tokens: TOKENS, queries: TOKENS, heads, head_dim };
    let (qkv, d) = (ramp(shape.qkv_len()), ramp(shape.out_len()));
    let AttentionOutput { out, log_sums } = attention_forward(isa, shape, &qkv);
    row(
        &format!("attention {TOKENS} tokens, {} heads", shape.heads),
        [
            best_of(|| attention_forward(isa, shape, &qkv)),
            best_of(|| attention_backward(isa, shape, &qkv, &out, &log_sums, &d)),
        ],
    );
}

/// Unit vectors of 128 values, temperature 0.2; the second figure includes the gradient.
fn info_nce(isa: Isa, queries: usize, bank: usize) {
    let shape = &ContrastShape { queries, dim: 128, bank };
    let unit = |rows: usize| ramp(rows * 128).iter().map(|x| x / 5.5).collect::<Vec<f32>>();
    let (q, k, rows) = (unit(queries), unit(queries), unit(bank));
    let run = |gradient| {
        let needs = ContrastNeeds { queries: gradient, positives: false };
        best_of(|| contrast(isa, shape, &q, Positives::Vectors(&k), &rows, 0.2, needs))
    };
    let [loss, both] = [run(false), run(true)];
    println!(
        "{:30} loss    {loss:7.2}  + dq     {both:7.2}",
        format!("InfoNCE {queries}x128x{bank}")
    );
}

/// Parameters of a ViT-S.
fn optimisers(isa: Isa) {
    let len = 22_000_000;
    let (mut p, g) = (ramp(len), ramp(len));
    let (mut m, mut v) = (vec![0.0; len], vec![1.0; len]);
    let config = AdamWConfig { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    let ms = best_of(|| adamw(isa, &mut p, &g, [&mut m, &mut v], 1, config));
    println!("{:30} {ms:7.2}", format!("AdamW {len}"));
    let trust = Trust { coefficient: 1e-3, eps: 0.0, norm: TrustNorm::Decayed, clip: false };
    let config = LarsConfig {
        lr: 0.1,
        momentum: 0.9,
        weight_decay: 1e-6,
        trust: Some(trust),
        lr_in_buffer: false,
    };
    let ms = best_of(|| lars(isa, &mut p, &g, &mut m, config));
    println!("{:30} {ms:7.2}", format!("LARS {len}"));
}

fn row(name: &str, [forward, backward]: [f64; 2]) {
    println!("{name:30} forward {forward:7.2}  backward {backward:7.2}");
}

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect()
}

fn best_of<R>(mut f: impl FnMut() -> R) -> f64 {
    black_box(f());
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        black_box(f());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best * 1e3
}
