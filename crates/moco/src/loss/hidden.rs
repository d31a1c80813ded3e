//! Reconstruction of what was hidden.

use burn::tensor::Tensor;

/// Mean squared error of a patch, averaged over the hidden patches, `[1]`: He et al. 2021
/// (arXiv 2111.06377), Sec. 3, "Reconstruction target".
///
/// # Shapes
/// `predicted` and `target` are `[N, L, P]`; `hidden` is `[N, L]`, 1 where hidden, 0 elsewhere.
pub fn hidden_error(predicted: Tensor<3>, target: Tensor<3>, hidden: Tensor<2>) -> Tensor<1> {
    let error = (predicted - target).square().mean_dim(2).squeeze_dim::<2>(2); // [N, L]
    (error * hidden.clone()).sum() / hidden.sum()
}
