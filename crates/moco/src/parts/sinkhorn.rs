//! Equal shares by Sinkhorn's iterations: SwAV's online clustering.
//!
//! Caron et al. 2020 (arXiv 2006.09882), Sec. 3.1 and App. A.

use super::{max_over_ranks, sum_over_ranks};
use burn::tensor::Tensor;
use moco_peers::Peers;

/// The soft assignment of B samples to K prototypes in which every prototype gets an equal share.
///
/// `Q = exp(scores / epsilon)`, then alternately every prototype's column is scaled to 1/K and
/// every sample's row to 1/B; rows last, so each row of the result, scaled back by B, sums to 1.
///
/// # Shapes
/// `[B, K]` to `[B, K]`, outside autodiff.
pub fn sinkhorn(scores: Tensor<2>, epsilon: f64, iterations: usize) -> Tensor<2> {
    let [b, _] = scores.dims();
    sinkhorn_among(scores, b, epsilon, iterations, Peers::SOLO)
}

/// As [`sinkhorn`], of B = `samples` samples that are spread over the ranks, of which this rank has
/// and gets its own.
pub fn sinkhorn_among(
    scores: Tensor<2>,
    samples: usize,
    epsilon: f64,
    iterations: usize,
    peers: Peers,
) -> Tensor<2> {
    let (b, [_, k]) = (samples, scores.dims());
    // Subtracting the largest score changes no ratio, and no exponential overflows.
    let largest = max_over_ranks(scores.clone().max(), peers, "largest score").reshape([1, 1]);
    let mut q = ((scores - largest) / epsilon).exp();
    q = q.clone() / sum_over_ranks(q.sum(), peers, "sum of scores").reshape([1, 1]);
    for _ in 0..iterations {
        let used = sum_over_ranks(q.clone().sum_dim(0), peers, "use of prototypes");
        q = q / used.clamp_min(TINY) / k as f64;
        q = q.clone() / q.sum_dim(1).clamp_min(TINY) / b as f64;
    }
    q * b as f64
}

/// Keeps an unused prototype's column, whose sum underflows, from becoming no number.
const TINY: f64 = 1e-30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};
    use burn::tensor::Device;

    fn scores(b: usize, k: usize) -> Tensor<2> {
        let mut rng = stream(5, Purpose::Queue, 0);
        init::normal([b, k], 0.1, &mut rng, &Device::flex())
    }

    /// The last step scales rows, so each sums to 1.
    #[test]
    fn each_sample_is_shared_out_whole() {
        let rows = to_host(sinkhorn(scores(24, 7), 0.05, 3).sum_dim(1));
        assert!(rows.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{rows:?}");
    }

    #[test]
    fn prototypes_are_used_nearly_alike() {
        let columns = to_host(sinkhorn(scores(70, 7), 0.05, 3).sum_dim(0));
        assert!(columns.iter().all(|sum| (sum - 10.0).abs() < 1.0), "{columns:?}");
        let exact = to_host(sinkhorn(scores(70, 7), 0.05, 200).sum_dim(0));
        assert!(exact.iter().all(|sum| (sum - 10.0).abs() < 1e-3), "{exact:?}");
    }

    #[test]
    fn large_scores_and_unused_prototypes_stay_finite() {
        let mut values = vec![0.0f32; 12];
        values[0] = 300.0;
        values[5] = -300.0;
        let scores = Tensor::<1>::from_data(values.as_slice(), &Device::flex()).reshape([4, 3]);
        let q = to_host(sinkhorn(scores, 0.05, 3));
        assert!(q.iter().all(|v| v.is_finite()), "{q:?}");
    }
}
