//! Losses: pure functions of embeddings.

mod bank;
mod hidden;
mod in_batch;
mod invaspread;
mod siamese;
mod views;

pub use crate::ops::cross_entropy::cross_entropy_at;
pub use crate::ops::info_nce::{Contrast, info_nce, softmax_over_bank};
pub use bank::{bank_scores, nce, nce_chance, proximal, softmax_over_samples};
pub use hidden::hidden_error;
pub use in_batch::{info_nce_among, info_nce_in_batch, nt_xent, nt_xent_among};
pub use invaspread::{invaspread, invaspread_among, invaspread_collapse};
pub use siamese::{negative_cosine, normalized_distance};
pub use views::cross_entropy_of_views;

use burn::tensor::Tensor;

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
