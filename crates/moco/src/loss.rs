//! Losses: pure functions of embeddings.

mod bank;
mod in_batch;
mod invaspread;
mod siamese;

pub use bank::{bank_scores, nce, nce_chance, softmax_over_bank, softmax_over_samples};
pub use in_batch::{info_nce_in_batch, nt_xent};
pub use invaspread::{invaspread, invaspread_collapse};
pub use siamese::{negative_cosine, normalized_distance};

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Int, Tensor, TensorData};

/// Stands for minus infinity among similarities: its exponential is 0 at any temperature in use.
const NO_LOGIT: f64 = -1e9;

/// What a contrastive comparison yields.
pub struct Contrast {
    /// Mean loss over the batch, `[1]`.
    pub loss: Tensor<1>,
    /// Share of queries whose own key scores highest, `[1]`, outside autodiff.
    pub accuracy: Tensor<1>,
}

/// Rows scaled to unit Euclidean length.
///
/// The square of torch's floor of 1e-12 is added under the root, which changes no length above
/// 1e-8 in f32 and keeps the gradient of a zero row finite.
///
/// # Shapes
/// `[N, D]` to `[N, D]`.
pub fn l2_normalize(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-24).sqrt();
    x / length
}

/// InfoNCE with one positive and a queue of negatives: He et al. 2020 (arXiv 1911.05722), Eq. 1.
///
/// `loss = -log( exp(q·k₊/T) / (exp(q·k₊/T) + Σᵢ exp(q·kᵢ/T)) )`, averaged over the batch. The
/// paper's sum over K+1 terms includes the positive.
///
/// # Shapes
/// `q` and `k` are `[N, D]`, `queue` is `[K, D]`; all rows of unit length. `excluded`, `[N, K]`,
/// says which keys are no negatives of which queries.
pub fn info_nce(
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

/// Mean cross-entropy of rows of logits with the index of the right column in each.
///
/// # Shapes
/// `logits` is `[N, K]`, `own` gives N columns; the result is `[1]`.
pub fn cross_entropy_at(logits: Tensor<2>, own: impl Iterator<Item = usize>) -> Tensor<1> {
    let own: Vec<i32> = own.map(|column| column as i32).collect();
    let n = own.len();
    let plain = logits.device().without_autodiff();
    let own = Tensor::<2, Int>::from_data(TensorData::new(own, [n, 1]), &plain);
    log_softmax(logits, 1).gather(1, own).mean().neg()
}

/// Loss of [`info_nce`] for unrelated unit vectors: `ln(K+1) + 1/(2 D T²)`.
///
/// Dot products of random unit vectors are close to normal with variance 1/D, so the mean of
/// `exp(q·k/T)` is `exp(1/(2 D T²))`, while the positive contributes 0 on average.
pub fn info_nce_chance(queue: usize, dim: usize, temperature: f64) -> f64 {
    ((queue + 1) as f64).ln() + 1.0 / (2.0 * dim as f64 * temperature * temperature)
}

/// Standard deviation over the batch of each channel, averaged over channels, `[1]`.
///
/// For normalised embeddings it is near 1/sqrt(D) when they fill the sphere and 0 when they have
/// collapsed to a point (Chen & He 2021, arXiv 2011.10566, Sec. 4.1).
///
/// # Shapes
/// `z` is `[N, D]`.
pub fn channel_std(z: Tensor<2>) -> Tensor<1> {
    z.without_autodiff().var_bias(0).sqrt().mean()
}
