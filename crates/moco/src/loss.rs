//! Losses: pure functions of embeddings.

mod bank;
mod fused;
mod hidden;
mod in_batch;
mod invaspread;
mod siamese;
mod views;

pub use bank::{bank_scores, nce, nce_chance, proximal, softmax_over_bank, softmax_over_samples};
pub use hidden::hidden_error;
pub use in_batch::{info_nce_among, info_nce_in_batch, nt_xent, nt_xent_among};
pub use invaspread::{invaspread, invaspread_among, invaspread_collapse};
pub use siamese::{negative_cosine, normalized_distance};
pub use views::cross_entropy_of_views;

use crate::nn::fused::isa;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

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
/// says which keys are no negatives of which queries. The queue is a constant.
pub fn info_nce(
    q: Tensor<2>,
    k: Tensor<2>,
    queue: Tensor<2>,
    excluded: Option<Tensor<2, Bool>>,
    temperature: f64,
) -> Contrast {
    match (isa(&q.device()), &excluded) {
        (Some(isa), None) => fused::info_nce(q, k, queue, temperature, isa),
        _ => compose_info_nce(q, k, queue, excluded, temperature),
    }
}

fn compose_info_nce(
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
    let own = columns(own, &logits.device().without_autodiff());
    log_softmax(logits, 1).gather(1, own).mean().neg()
}

/// One column number per row, `[N, 1]`.
fn columns(own: impl Iterator<Item = usize>, device: &Device) -> Tensor<2, Int> {
    let own: Vec<i32> = own.map(|column| column as i32).collect();
    let n = own.len();
    Tensor::from_data(TensorData::new(own, [n, 1]), device)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};
    use moco_kernels::Isa;

    fn rows(rows: usize, dim: usize, seed: u64) -> Tensor<2> {
        let mut rng = stream(seed, Purpose::Weights, 0);
        l2_normalize(init::normal([rows, dim], 1.0, &mut rng, &Device::flex()))
    }

    /// Loss, accuracy and the gradients of q and k, where they have one, times a weight.
    fn run(
        loss: &dyn Fn(Tensor<2>, Tensor<2>) -> Contrast,
        [q, k]: [Tensor<2>; 2],
    ) -> [Vec<f32>; 4] {
        let [q, k] = [q, k].map(|x| x.autodiff().require_grad());
        let Contrast { loss, accuracy } = loss(q.clone(), k.clone());
        let gradients = (loss.clone() * 3.0).backward();
        let gradient = |x: Tensor<2>| x.grad(&gradients).map(to_host).unwrap_or_default();
        [to_host(loss), to_host(accuracy), gradient(q), gradient(k)]
    }

    /// Both sum in f32. Where a loss is near 0, log-softmax resolves it, and its gradient, to a few
    /// roundings of the largest logit, 10.
    fn assert_equal(found: &[Vec<f32>; 4], expected: &[Vec<f32>; 4], what: &str) {
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert_eq!(a.len(), b.len(), "{what}, value {i}");
            let scale = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
            assert!(off < 5e-6, "{what}, value {i}: off by {off:.1e}");
        }
    }

    #[test]
    fn fused_losses_equal_their_composition_with_all_gradients() {
        for [n, dim, k] in [[1, 3, 1], [5, 17, 33], [9, 32, 700]] {
            let (q, bank) = (rows(n, dim, 1), rows(k, dim, 2));
            let near = l2_normalize(q.clone() + rows(n, dim, 3) * 0.8);
            let own: Vec<usize> = (0..n).map(|i| i * 3 % k).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
                let what = format!("{:?}, {isa:?}", [n, dim, k]);
                let both = || [q.clone(), near.clone()];
                let found = run(&|q, k| fused::info_nce(q, k, bank.clone(), 0.1, isa), both());
                let expected = run(&|q, k| compose_info_nce(q, k, bank.clone(), None, 0.1), both());
                assert_equal(&found, &expected, &what);
                let own = || own.clone();
                let found = run(&|v, _| fused::over_bank(v, bank.clone(), own(), 0.1, isa), both());
                let expected =
                    run(&|v, _| bank::compose_softmax(v, bank.clone(), &own(), 0.1), both());
                assert_equal(&found, &expected, &what);
            }
        }
    }

    #[test]
    fn inputs_need_not_be_contiguous() {
        let (q, k, queue) = (rows(5, 17, 1), rows(5, 17, 3), rows(33, 17, 2));
        let isa = Isa::best();
        let view = |x: &Tensor<2>| {
            Tensor::<2>::from_data(x.clone().transpose().into_data(), &x.device()).transpose()
        };
        let expected =
            run(&|q, k| fused::info_nce(q, k, queue.clone(), 0.1, isa), [q.clone(), k.clone()]);
        let found =
            run(&|q, k| fused::info_nce(q, k, view(&queue), 0.1, isa), [view(&q), view(&k)]);
        assert_eq!(found, expected);
    }

    #[test]
    fn keys_without_a_graph_have_no_gradient() {
        let q = rows(4, 8, 1).autodiff().require_grad();
        let (k, queue) = (rows(4, 8, 2), rows(20, 8, 3));
        let loss = info_nce(q.clone(), k.clone(), queue.clone(), None, 0.2).loss;
        let gradients = loss.backward();
        assert!(q.grad(&gradients).is_some());
        assert!(k.grad(&gradients).is_none() && queue.grad(&gradients).is_none());
    }
}
