//! Properties of the whole crate that its users rely on: same bits for any number of threads, and
//! no growth.

mod vit;

use std::sync::Mutex;

use moco_kernels::conv::{
    BnActGrads, BnActNeeds, BnParams, ConvShape, Norm, conv_bn_act_backward, conv_bn_act_forward,
};
use moco_kernels::pool::{PoolShape, max_pool_backward, max_pool_forward};
use moco_kernels::{Isa, kept_bytes};

/// Layers that together take every path: stem, Winograd narrow, fused and in phases, strided, 1x1,
/// tiny maps.
const LAYERS: [ConvShape; 7] = [
    layer(12, 16, 3, 40, 3, 1),
    layer(12, 17, 40, 40, 3, 1),
    layer(12, 16, 64, 70, 3, 2),
    layer(12, 8, 70, 80, 1, 2),
    layer(12, 9, 100, 130, 3, 1),
    layer(12, 4, 310, 320, 3, 1),
    layer(12, 2, 33, 65, 3, 1),
];

const fn layer(
    n: usize,
    side: usize,
    cin: usize,
    cout: usize,
    k: usize,
    stride: usize,
) -> ConvShape {
    ConvShape { n, h: side, w: side, cin, cout, k, stride, pad: k / 2 }
}

/// Deterministic values in `[-1, 1)`.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Forward and backward of one layer.
fn step(shape: &ConvShape, groups: usize) -> (Vec<f32>, BnActGrads) {
    let isa = Isa::best();
    let (x, weight) = (values(shape.x_len(), 1), values(shape.weight_len(), 2));
    let (skip, d_out) = (values(shape.out_len(), 3), values(shape.out_len(), 4));
    let (gamma, beta) = (values(shape.cout, 5), values(shape.cout, 6));
    let bn = BnParams { gamma: &gamma, beta: &beta, eps: 1e-5, norm: Norm::Batch { groups } };
    let forward =
        conv_bn_act_forward(isa, shape, &x, (&weight).into(), &bn, Some(&skip), true, true);
    let saved = forward.saved.expect("asked to keep it");
    let needs = BnActNeeds { x: true, weight: true, affine: true, skip: true };
    let grads = conv_bn_act_backward(isa, shape, &x, &weight, &saved, &forward.out, &d_out, needs);
    (forward.out, grads)
}

fn pool_step() -> Vec<f32> {
    let shape = PoolShape { n: 12, h: 17, w: 16, c: 40, k: 3, stride: 2, pad: 1 };
    let (out, positions) = max_pool_forward(Isa::best(), &shape, &values(shape.x_len(), 7));
    max_pool_backward(Isa::best(), &shape, &out, &positions)
}

fn on<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(f)
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn training_steps_are_the_same_bits_for_any_number_of_threads() {
    let _alone = ALONE.lock().expect("the other test passed");
    for shape in LAYERS {
        for groups in [1, 3] {
            let run = |threads| {
                let (out, grads) = on(threads, || step(&shape, groups));
                let all = [grads.x, grads.weight, grads.gamma, grads.beta, grads.skip];
                let mut all: Vec<_> = all.iter().flatten().map(|v| bits(v)).collect();
                all.push(bits(&out));
                assert_eq!(all.len(), 6);
                all
            };
            let one = run(1);
            for threads in [1, 2, 3, 8] {
                assert!(run(threads) == one, "{threads} threads, {groups} groups, {shape:?}");
            }
        }
    }
    assert_eq!(bits(&on(1, pool_step)), bits(&on(3, pool_step)));
}

#[test]
fn memory_does_not_grow_over_repeated_steps() {
    let _alone = ALONE.lock().expect("the other test passed");
    let round = || {
        for shape in LAYERS {
            step(&shape, 1);
        }
        kept_bytes()
    };
    on(2, || {
        let first = (0..3).map(|_| round()).max().expect("three rounds");
        let later = (0..20).map(|_| round()).max().expect("twenty rounds");
        assert!(first > 0 && later <= first, "{first} bytes kept, then {later}");
    });
}

/// Kept memory belongs to the process, so the tests of this binary take turns.
static ALONE: Mutex<()> = Mutex::new(());
