//! One view of an image, predicted from its other views.

use burn::tensor::{Tensor, s};

/// Cross-entropy of what is said of the first views with what every other view predicts, averaged
/// over the batch and over the pairs, `[1]`: Caron et al. 2020 (arXiv 2006.09882), Eqs. 1 and 2;
/// Caron et al. 2021 (arXiv 2104.14294), Eq. 3.
///
/// `loss = -mean over i < G, v ≠ i of Σ_k q_i(k) log p_v(k)`: of V views, G (V - 1) pairs.
///
/// # Shapes
/// `targets` are G distributions `[N, K]`, constants; `log_p` is `[V N, K]`, view after view.
pub fn cross_entropy_of_views(targets: &[Tensor<2>], log_p: Tensor<2>) -> Tensor<1> {
    let [n, _] = targets[0].dims();
    let views = log_p.dims()[0] / n;
    let mut loss = Tensor::zeros([1], &log_p.device());
    for (i, q) in targets.iter().enumerate() {
        for v in (0..views).filter(|v| *v != i) {
            let log_p = log_p.clone().slice(s![v * n..(v + 1) * n, ..]);
            loss = loss + (q.clone() * log_p).sum_dim(1).mean().neg();
        }
    }
    loss / (targets.len() * (views - 1)) as f64
}
