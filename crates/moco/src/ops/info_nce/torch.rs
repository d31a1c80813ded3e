//! Cross-entropy against a large matrix by LibTorch, in f32 whatever the run's precision.

use super::Contrast;
use crate::ops::torch::{node_in_f32, plain};
use burn::tensor::Tensor;
use tch::Kind;

pub(super) fn info_nce(q: Tensor<2>, k: Tensor<2>, queue: Tensor<2>, temperature: f64) -> Contrast {
    let mut wins = None;
    let loss = node_in_f32(vec![q.into(), k.into(), queue.into()], |t| {
        let columns: &[i64] = &[1];
        let positive = (&t[0] * &t[1]).sum_dim_intlist(columns, true, Kind::Float); // q·k₊  [N, 1]
        let negative = t[0].matmul(&t[2].tr()); // q·kᵢ  [N, K]
        wins = Some(tch::no_grad(|| share(positive.gt_tensor(&negative.amax(columns, true)))));
        let logits = tch::Tensor::cat(&[positive, negative], 1) / temperature;
        logits.log_softmax(1, Kind::Float).select(1, 0).mean(Kind::Float).neg().reshape([1])
    });
    Contrast { loss, accuracy: accuracy(wins) }
}

pub(super) fn over_bank(
    v: Tensor<2>,
    bank: Tensor<2>,
    own: &[usize],
    temperature: f64,
) -> Contrast {
    let own: Vec<i64> = own.iter().map(|row| *row as i64).collect();
    let mut wins = None;
    let loss = node_in_f32(vec![v.into(), bank.into()], |t| {
        let columns: &[i64] = &[1];
        let scores = t[0].matmul(&t[1].tr()); // v·M_j  [N, images]
        let own = tch::Tensor::from_slice(&own).to_device(scores.device()).unsqueeze(1);
        wins = Some(tch::no_grad(|| {
            // As in `info_nce`, a tie is a miss: the own row alone scores as high as it does.
            let rivals = scores.ge_tensor(&scores.gather(1, &own, false));
            share(rivals.sum_dim_intlist(columns, false, Kind::Int64).eq(1))
        }));
        let logits = scores / temperature;
        let own = logits.log_softmax(1, Kind::Float).gather(1, &own, false);
        own.mean(Kind::Float).neg().reshape([1])
    });
    Contrast { loss, accuracy: accuracy(wins) }
}

/// The share that is true.
fn share(is: tch::Tensor) -> tch::Tensor {
    is.to_kind(Kind::Float).mean(Kind::Float)
}

/// What a node found beside its output.
fn accuracy(wins: Option<tch::Tensor>) -> Tensor<1> {
    plain(wins.expect("the node has run").reshape([1]))
}
