//! Kernels against the composition, with all gradients.

use super::*;
use crate::batch::to_host;
use crate::nn::init;
use crate::rng::{Purpose, stream};
use burn::tensor::Device;
use moco_kernels::Isa;

/// Rows of unit length.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}

fn rows(rows: usize, dim: usize, seed: u64) -> Tensor<2> {
    let mut rng = stream(seed, Purpose::Weights, 0);
    unit(init::normal([rows, dim], 1.0, &mut rng, &Device::flex()))
}

/// Loss, accuracy and the gradients of q and k, where they have one, times a weight.
fn run(loss: &dyn Fn(Tensor<2>, Tensor<2>) -> Contrast, [q, k]: [Tensor<2>; 2]) -> [Vec<f32>; 4] {
    let [q, k] = [q, k].map(|x| x.autodiff().require_grad());
    let Contrast { loss, accuracy } = loss(q.clone(), k.clone());
    let gradients = (loss.clone() * 3.0).backward();
    let gradient = |x: Tensor<2>| x.grad(&gradients).map(to_host).unwrap_or_default();
    [to_host(loss), to_host(accuracy), gradient(q), gradient(k)]
}

/// Both sum in f32. Where a loss is near 0, log-softmax resolves it, and its gradient, to a few
/// roundings of the largest logit, 10.
fn assert_equal(found: &[Vec<f32>; 4], expected: &[Vec<f32>; 4], what: &str) {
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a.len(), b.len(), "{what}, value {i}");
        let scale = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        assert!(off < 5e-6, "{what}, value {i}: off by {off:.1e}");
    }
}

#[test]
fn fused_losses_equal_their_composition_with_all_gradients() {
    for [n, dim, k] in [[1, 3, 1], [5, 17, 33], [9, 32, 700]] {
        let (q, bank) = (rows(n, dim, 1), rows(k, dim, 2));
        let near = unit(q.clone() + rows(n, dim, 3) * 0.8);
        let own: Vec<usize> = (0..n).map(|i| i * 3 % k).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            let what = format!("{:?}, {isa:?}", [n, dim, k]);
            let both = || [q.clone(), near.clone()];
            let found = run(&|q, k| cpu::info_nce(q, k, bank.clone(), 0.1, isa), both());
            let expected = run(&|q, k| stock::info_nce(q, k, bank.clone(), None, 0.1), both());
            assert_equal(&found, &expected, &what);
            let own = || own.clone();
            let found = run(&|v, _| cpu::over_bank(v, bank.clone(), own(), 0.1, isa), both());
            let expected = run(&|v, _| stock::over_bank(v, bank.clone(), &own(), 0.1), both());
            assert_equal(&found, &expected, &what);
        }
    }
}

#[test]
fn inputs_need_not_be_contiguous() {
    let (q, k, queue) = (rows(5, 17, 1), rows(5, 17, 3), rows(33, 17, 2));
    let isa = Isa::best();
    let view = |x: &Tensor<2>| {
        Tensor::<2>::from_data(x.clone().transpose().into_data(), &x.device()).transpose()
    };
    let expected =
        run(&|q, k| cpu::info_nce(q, k, queue.clone(), 0.1, isa), [q.clone(), k.clone()]);
    let found = run(&|q, k| cpu::info_nce(q, k, view(&queue), 0.1, isa), [view(&q), view(&k)]);
    assert_eq!(found, expected);
}

#[test]
fn keys_without_a_graph_have_no_gradient() {
    let q = rows(4, 8, 1).autodiff().require_grad();
    let (k, queue) = (rows(4, 8, 2), rows(20, 8, 3));
    let loss = info_nce(q.clone(), k.clone(), queue.clone(), None, 0.2).loss;
    let gradients = loss.backward();
    assert!(q.grad(&gradients).is_some());
    assert!(k.grad(&gradients).is_none() && queue.grad(&gradients).is_none());
}
