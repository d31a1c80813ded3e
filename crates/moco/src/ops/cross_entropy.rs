//! Cross-entropy of rows of logits.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Stands for minus infinity among similarities: its exponential is 0 at any temperature in use.
pub(crate) const NO_LOGIT: f64 = -1e9;

/// Mean cross-entropy of rows of logits with the index of the right column in each.
///
/// # Shapes
/// `logits` is `[N, K]`, `own` gives N columns; the result is `[1]`.
pub fn cross_entropy_at(logits: Tensor<2>, own: impl Iterator<Item = usize>) -> Tensor<1> {
    let own = columns(own, &logits.device().without_autodiff());
    log_softmax(logits, 1).gather(1, own).mean().neg()
}

/// One column number per row, `[N, 1]`.
pub(crate) fn columns(own: impl Iterator<Item = usize>, device: &Device) -> Tensor<2, Int> {
    let own: Vec<i32> = own.map(|column| column as i32).collect();
    let n = own.len();
    Tensor::from_data(TensorData::new(own, [n, 1]), device)
}
