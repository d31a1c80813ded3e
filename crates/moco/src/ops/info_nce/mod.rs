//! Cross-entropy of features against a large matrix: a queue of keys, or a bank of all images.

mod cpu;
mod stock;
#[cfg(test)]
mod tests;
#[cfg(feature = "libtorch")]
mod torch;

use super::Engine;
use burn::tensor::{Bool, Tensor};

/// What a contrastive comparison yields.
pub struct Contrast {
    /// Mean loss over the batch, `[1]`.
    pub loss: Tensor<1>,
    /// Share of queries whose own key scores highest, `[1]`, outside autodiff.
    pub accuracy: Tensor<1>,
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
    match (Engine::of(&q.device()), &excluded) {
        (Engine::Kernels(isa), None) => cpu::info_nce(q, k, queue, temperature, isa),
        #[cfg(feature = "libtorch")]
        (Engine::LibTorch, None) => torch::info_nce(q, k, queue, temperature),
        _ => stock::info_nce(q, k, queue, excluded, temperature),
    }
}

/// Softmax over all images, each a class of its own, averaged over the batch: Wu et al. 2018
/// (arXiv 1805.01978), Eq. 2.
///
/// # Shapes
/// `v` is `[N, D]`, `bank` `[images, D]`, a constant; `own` names the N rows of the features'
/// images.
pub fn softmax_over_bank(
    v: Tensor<2>,
    bank: Tensor<2>,
    own: &[usize],
    temperature: f64,
) -> Contrast {
    match Engine::of(&v.device()) {
        Engine::Kernels(isa) => cpu::over_bank(v, bank, own.to_vec(), temperature, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::over_bank(v, bank, own, temperature),
        Engine::Stock => stock::over_bank(v, bank, own, temperature),
    }
}
