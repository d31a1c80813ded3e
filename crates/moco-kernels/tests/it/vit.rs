//! The same properties for the kernels of a transformer, the contrastive loss and the optimisers.

use moco_kernels::attention::{AttentionShape, attention_backward, attention_forward};
use moco_kernels::contrast::{ContrastNeeds, ContrastShape, Positives, contrast};
use moco_kernels::gelu::{Gelu, gelu_backward, gelu_forward};
use moco_kernels::layer_norm::{layer_norm_backward, layer_norm_forward};
use moco_kernels::linear::{
    LinearNeeds, LinearShape, linear_backward, linear_gelu_backward, linear_gelu_forward,
};
use moco_kernels::optim::{AdamWConfig, LarsConfig, Trust, TrustNorm, adamw, lars};
use moco_kernels::{Isa, kept_bytes};

use super::{ALONE, bits, on, values};

/// Every result of every kernel, over sizes with several jobs each and ragged ends.
fn step() -> Vec<Vec<u32>> {
    let results = [linear_step(), block_step(), contrast_step(), optim_step()];
    results.iter().flatten().map(|v| bits(v)).collect()
}

fn linear_step() -> Vec<Vec<f32>> {
    let (isa, mut results) = (Isa::best(), Vec::new());
    for (rows, inputs, outputs) in [(500, 70, 130), (7, 1600, 600), (1700, 33, 9)] {
        let shape = LinearShape { rows, inputs, outputs };
        let (x, w) = (values(shape.x_len(), 1), values(shape.weight_len(), 2));
        let (bias, d) = (values(outputs, 3), values(shape.out_len(), 4));
        let gelu = Gelu::Exact;
        let forward = linear_gelu_forward(isa, &shape, &x, (&w).into(), Some(&bias), gelu, true);
        let pre = forward.pre.expect("asked to keep it");
        let needs = LinearNeeds { x: true, weight: true, bias: true };
        let fused = linear_gelu_backward(isa, &shape, &x, &w, (gelu, &pre), &d, needs);
        let plain = linear_backward(isa, &shape, &x, &w, &d, needs);
        results.extend([forward.out, pre]);
        for grads in [fused, plain] {
            results.extend([grads.x, grads.weight, grads.bias].into_iter().flatten());
        }
    }
    assert_eq!(results.len(), 3 * 8);
    results
}

fn block_step() -> Vec<Vec<f32>> {
    let isa = Isa::best();
    let (x, d) = (values(300 * 200, 5), values(300 * 200, 6));
    let (gamma, beta) = (values(200, 7), values(200, 8));
    let norm = layer_norm_forward(isa, &x, &gamma, &beta, 1e-6);
    let grads = layer_norm_backward(isa, &x, &gamma, &norm.saved, &d, true);
    let shape = AttentionShape { batch: 3, tokens: 130, queries: 130, heads: 2, head_dim: 20 };
    let (qkv, d_out) = (values(shape.qkv_len(), 9), values(shape.out_len(), 10));
    let attention = attention_forward(isa, &shape, &qkv);
    let d_qkv = attention_backward(isa, &shape, &qkv, &attention.out, &attention.log_sums, &d_out);
    vec![
        norm.out,
        grads.x.expect("asked for"),
        grads.gamma,
        grads.beta,
        attention.out,
        d_qkv,
        gelu_forward(isa, Gelu::Tanh, &x),
        gelu_backward(isa, Gelu::Tanh, &x, &d),
    ]
}

fn contrast_step() -> Vec<Vec<f32>> {
    let shape = ContrastShape { queries: 300, dim: 40, bank: 3000 };
    let (q, bank) = (values(300 * 40, 11), values(3000 * 40, 12));
    let rows: Vec<usize> = (0..300).map(|i| 7 * i).collect();
    let needs = ContrastNeeds { queries: true, positives: true };
    let got = contrast(Isa::best(), &shape, &q, Positives::Rows(&rows), &bank, 0.5, needs);
    let hits = got.hits.iter().map(|&hit| f32::from(u8::from(hit))).collect();
    let grads = [got.d_queries, got.d_positives].map(|d| d.expect("asked for"));
    [got.loss, got.log_sums, hits].into_iter().chain(grads).collect()
}

fn optim_step() -> Vec<Vec<f32>> {
    let len = 100_001;
    let (mut p, g) = (values(len, 13), values(len, 14));
    let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
    let config = AdamWConfig { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    adamw(Isa::best(), &mut p, &g, [&mut m, &mut v], 1, config);
    let trust = Trust { coefficient: 1e-3, eps: 0.0, norm: TrustNorm::Decayed, clip: false };
    let config = LarsConfig {
        lr: 1.0,
        momentum: 0.9,
        weight_decay: 1e-4,
        trust: Some(trust),
        lr_in_buffer: true,
    };
    lars(Isa::best(), &mut p, &g, &mut m, config);
    vec![p, m, v]
}

#[test]
fn transformer_steps_are_the_same_bits_for_any_number_of_threads() {
    let _alone = ALONE.lock().expect("the other tests passed");
    let one = on(1, step);
    for threads in [1, 2, 3, 8] {
        assert!(on(threads, step) == one, "{threads} threads");
    }
}

#[test]
fn memory_does_not_grow_over_repeated_transformer_steps() {
    let _alone = ALONE.lock().expect("the other tests passed");
    let round = || {
        step();
        kept_bytes()
    };
    on(2, || {
        let first = (0..3).map(|_| round()).max().expect("three rounds");
        let later = (0..10).map(|_| round()).max().expect("ten rounds");
        assert!(first > 0 && later <= first, "{first} bytes kept, then {later}");
    });
}
