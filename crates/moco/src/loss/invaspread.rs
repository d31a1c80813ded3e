//! Invariant and spreading features: Ye et al. 2019 (arXiv 1904.03436), Sec. 3.2.

use super::Contrast;
use super::in_batch::own_columns;
use crate::ops::cross_entropy::NO_LOGIT;
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use moco_peers::Peers;

/// The largest probability of a negative whose complement has a logarithm worth taking in f32.
/// The reference has no bound, and an infinite loss where two images coincide.
const LARGEST_P: f64 = 1.0 - 1e-6;

/// Each view should be told from all others of the batch as its partner (invariant), and no other
/// view as it (spreading).
///
/// `P(j|a) = exp(a·j/T) / (exp(a·a₊/T) + w Σ exp(a·k/T))`, the sum over k outside {a, a₊};
/// the loss is `-ln P(a₊|a) - w Σ ln(1 - P(j|a))`, j outside {a, a₊}, averaged over all views:
/// Eqs. 2-5 for a weight w of 1; the reference's `negM` otherwise. With `row_gradient` the second
/// vector of every product is a constant, as in the reference.
///
/// # Shapes
/// `z` is `[2N, D]`, rows of unit length; row `a + N` is the partner of row `a`.
pub fn invaspread(
    z: Tensor<2>,
    temperature: f64,
    row_gradient: bool,
    negative_weight: f64,
) -> Contrast {
    invaspread_among(z.clone(), z, temperature, row_gradient, negative_weight, Peers::SOLO)
}

/// As [`invaspread`], for this rank's views among those of all ranks.
///
/// # Shapes
/// `z` is `[2n, D]`, `all` `[2n R, D]`, the rows of the ranks by stride.
pub fn invaspread_among(
    z: Tensor<2>,
    all: Tensor<2>,
    temperature: f64,
    row_gradient: bool,
    negative_weight: f64,
    peers: Peers,
) -> Contrast {
    let ([views, _], [others, _]) = (z.dims(), all.dims());
    let device = z.device();
    let other = if row_gradient { all.detach() } else { all };
    let n = (views / 2) as i64;
    let [itself, after, before] =
        [0, n, -n].map(|offset| own_columns([views, others], offset, &z, peers));
    let partner = after.bool_or(before); // rows a and a + N

    let scores = z.matmul(other.transpose()).mask_fill(itself.clone(), NO_LOGIT); // [2N, 2N]
    let best = scores.clone().without_autodiff().max_dim(1);
    let wins = scores.clone().without_autodiff().greater_equal(best).bool_and(partner.clone());

    // Rivals count in the sum as if they were w times as likely.
    let weight = Tensor::full([views, others], negative_weight.ln(), &device)
        .mask_fill(partner.clone(), 0.0);
    let log_p = log_softmax(scores / temperature + weight.clone(), 1) - weight; // ln P(j|a)
    let invariant = log_p.clone().mask_fill(partner.clone().bool_not(), 0.0).sum();
    let p = log_p.exp().mask_fill(partner.bool_or(itself), 0.0).clamp_max(LARGEST_P);
    let spreading = (p.neg() + 1.0).log().sum() * negative_weight;
    let loss = (invariant + spreading) / -(views as f64);
    Contrast { loss, accuracy: wins.float().sum() / views as f64 }
}

/// Loss of [`invaspread`] for `batch` images whose views are all the same: with
/// `n = w (2 batch - 2)` it is `ln(1 + n) - n ln(1 - 1/(1 + n))`.
pub fn invaspread_collapse(batch: usize, negative_weight: f64) -> f64 {
    let rivals = negative_weight * (2 * batch - 2) as f64;
    let p = 1.0 / (1.0 + rivals);
    if rivals > 0.0 { -p.ln() - rivals * (-p).ln_1p() } else { 0.0 }
}
