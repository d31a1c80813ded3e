//! Losses against a memory bank: Wu et al. 2018 (arXiv 1805.01978), Sec. 3.

use super::{Contrast, info_nce_chance};
use crate::ops::cross_entropy::columns;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, s};

/// Keeps logarithms of shares finite, as in the reference code.
const EPSILON: f64 = 1e-7;

/// Fetching a row costs about as much as multiplying with this many. Measured with the backward
/// pass on two CPU cores, 128 features of width 128: equal at 50,000 / 1563; multiplying takes half
/// the time of fetching at 50,000 / 4097, and half as much again at 200,000 / 4097.
const ROWS_PER_FETCH: usize = 32;

/// Similarities of each feature with the rows sampled for it, `v_b · M_j`.
///
/// Multiplies with the whole bank and picks, or fetches the rows and multiplies, whichever is
/// cheaper; the results are equal but for rounding.
///
/// # Shapes
/// `v` is `[N, D]`, `bank` `[images, D]`, `samples` `[N, 1 + m]`; the result `[N, 1 + m]`.
pub fn bank_scores(v: Tensor<2>, bank: Tensor<2>, samples: Tensor<2, Int>) -> Tensor<2> {
    let [n, per_feature] = samples.dims();
    let [images, dim] = bank.dims();
    if images <= ROWS_PER_FETCH * per_feature {
        return v.matmul(bank.transpose()).gather(1, samples);
    }
    let rows = bank.select(0, samples.flatten(0, 1)).reshape([n, per_feature, dim]);
    rows.matmul(v.reshape([n, dim, 1])).reshape([n, per_feature])
}

/// Softmax over the sampled rows: cross-entropy to the first, averaged over the batch.
///
/// # Shapes
/// `scores` is `[N, 1 + m]`, as [`bank_scores`] gives it, the own row first.
pub fn softmax_over_samples(scores: Tensor<2>, temperature: f64) -> Contrast {
    let accuracy = accuracy(&scores, scores.clone().slice(s![.., 0..1]));
    let loss = log_softmax(scores / temperature, 1).slice(s![.., 0..1]).mean().neg();
    Contrast { loss, accuracy }
}

/// Squared distance of each feature from the row of its own image, averaged over the batch: the
/// proximal term of Eq. 10, which steadies a class of which only one image is seen.
///
/// # Shapes
/// `v` is `[N, D]`, `bank` `[images, D]`, a constant; `own` names the N rows of the features'
/// images.
pub fn proximal(v: Tensor<2>, bank: Tensor<2>, own: &[usize]) -> Tensor<1> {
    let own = columns(own.iter().copied(), &bank.device()).flatten(0, 1);
    (v - bank.select(0, own)).square().sum_dim(1).mean()
}

/// Noise-contrastive estimation: is a sampled row the image's own, or noise? Eqs. 4-7, with the
/// sum over the m noise rows, averaged over the batch.
///
/// `P = exp(score/T) / Z`, `P_n = m / images`; the loss is
/// `-ln(P / (P + P_n))` for the own row plus `-ln(P_n / (P + P_n))` for each other.
///
/// # Shapes
/// `scores` is `[N, 1 + m]`, the own row first; `z` `[1]`, a constant.
pub fn nce(scores: Tensor<2>, z: Tensor<1>, temperature: f64, images: usize) -> Contrast {
    let m = scores.dims()[1] - 1;
    let noise = m as f64 / images as f64;
    let accuracy = accuracy(&scores, scores.clone().slice(s![.., 0..1]));
    let p = (scores / temperature).exp() / z.unsqueeze::<2>(); // P(i|v)  [N, 1 + m]
    let total = p.clone() + noise + EPSILON;
    let own = (p.slice(s![.., 0..1]) / total.clone().slice(s![.., 0..1])).log(); // ln h(i, v)
    let others = (total.slice(s![.., 1..]).recip() * noise).log(); // ln(1 - h(i', v))
    Contrast { loss: (own + others.sum_dim(1)).mean().neg(), accuracy }
}

/// Share of features for which no other row scores above their own, `[1]`. A row that was sampled
/// twice is no rival of itself.
fn accuracy(scores: &Tensor<2>, own: Tensor<2>) -> Tensor<1> {
    let best = scores.clone().without_autodiff().max_dim(1);
    own.without_autodiff().greater_equal(best).float().mean()
}

/// Loss of [`nce`] for unrelated unit vectors and the Z that belongs to them:
/// `ln(m+1) + 1/(2 D T²) + 1`.
///
/// Then `images * P` is log-normal with mean 1, so that the own row costs what it costs in a
/// softmax, and each of the m others `ln(1 + images * P / m)`, about 1/m.
pub fn nce_chance(negatives: usize, dim: usize, temperature: f64) -> f64 {
    info_nce_chance(negatives, dim, temperature) + 1.0
}
