//! Agreement of two vectors, without negatives.

use super::l2_normalize;
use burn::tensor::Tensor;

/// Squared distance of the normalised rows, averaged over the batch, `[1]`: Grill et al. 2020
/// (arXiv 2006.07733), Eq. 2. It is 2 - 2 cos, so 0..=4.
///
/// # Shapes
/// `q` and `z` are `[N, D]`, of any length.
pub fn normalized_distance(q: Tensor<2>, z: Tensor<2>) -> Tensor<1> {
    (l2_normalize(q) - l2_normalize(z)).square().sum_dim(1).mean()
}

/// Minus the cosine of the rows, averaged over the batch, `[1]`: Chen & He 2021
/// (arXiv 2011.10566), Eq. 1.
///
/// # Shapes
/// `p` and `z` are `[N, D]`, of any length.
pub fn negative_cosine(p: Tensor<2>, z: Tensor<2>) -> Tensor<1> {
    (l2_normalize(p) * l2_normalize(z)).sum_dim(1).mean().neg()
}
