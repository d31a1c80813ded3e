//! InfoNCE by Burn's operations, with all logits in memory.

use super::Contrast;
use crate::ops::cross_entropy::{NO_LOGIT, columns, cross_entropy_at};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Tensor};

pub(super) fn info_nce(
    q: Tensor<2>,
    k: Tensor<2>,
    queue: Tensor<2>,
    excluded: Option<Tensor<2, Bool>>,
    temperature: f64,
) -> Contrast {
    let [n, _] = q.dims();
    let positive = (q.clone() * k).sum_dim(1); // q·k₊  [N, 1]
    let negative = q.matmul(queue.transpose()); // q·kᵢ  [N, K]
    let negative = match excluded {
        Some(excluded) => negative.mask_fill(excluded, NO_LOGIT),
        None => negative,
    };
    let best_negative = negative.clone().without_autodiff().max_dim(1);
    let wins = positive.clone().without_autodiff().greater(best_negative);
    let logits = Tensor::cat(vec![positive, negative], 1) / temperature;
    let loss = log_softmax(logits, 1).slice([0..n, 0..1]).mean().neg();
    Contrast { loss, accuracy: wins.float().mean() }
}

pub(super) fn over_bank(
    v: Tensor<2>,
    bank: Tensor<2>,
    own: &[usize],
    temperature: f64,
) -> Contrast {
    let scores = v.matmul(bank.transpose()); // v·M_j  [N, images]
    // As in `info_nce`, a tie is a miss: the own row alone scores as high as it does.
    let plain = scores.clone().without_autodiff();
    let columns = columns(own.iter().copied(), &plain.device());
    let rivals = plain.clone().greater_equal(plain.gather(1, columns)).int().sum_dim(1);
    let accuracy = rivals.equal_elem(1).float().mean();
    Contrast { loss: cross_entropy_at(scores / temperature, own.iter().copied()), accuracy }
}
