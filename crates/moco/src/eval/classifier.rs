//! The linear classifier that probes and fine-tuning put on features.

use crate::nn::{Linear, Param, init};
use crate::rng::{self, Purpose};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Weights from N(0, 0.01), biases zero, as the reference starts its probe.
pub fn classifier(inputs: usize, classes: usize, seed: u64, device: &Device) -> Linear {
    let mut rng = rng::stream(seed, Purpose::Probe, 0);
    Linear {
        weight: Param::new(init::normal([classes, inputs], 0.01, &mut rng, device)),
        bias: Some(Param::new(Tensor::zeros([classes], device))),
    }
}

/// Mean cross-entropy; `smoothing` is the share of each target that all classes share.
///
/// # Shapes
/// `[N, classes]` and N labels to `[1]`.
pub fn cross_entropy(logits: Tensor<2>, labels: &[u32], smoothing: f64) -> Tensor<1> {
    let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let n = labels.len();
    let labels =
        Tensor::<2, Int>::from_data(TensorData::new(labels, [n, 1]), &logits.device().inner());
    let log_p = log_softmax(logits, 1);
    let own = log_p.clone().gather(1, labels).mean();
    if smoothing == 0.0 {
        return own.neg();
    }
    (own * (1.0 - smoothing) + log_p.mean() * smoothing).neg()
}
