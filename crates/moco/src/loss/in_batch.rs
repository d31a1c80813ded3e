//! Contrast among the images of a batch.

use super::{Contrast, NO_LOGIT, columns, cross_entropy_at};
use burn::tensor::{Bool, Tensor};

/// InfoNCE where the negatives are the other keys of the batch: Chen, Xie & He 2021
/// (arXiv 2104.02057), Eq. 1.
///
/// # Shapes
/// `q` and `k` are `[N, D]`, rows of unit length; row n of both is of image n.
pub fn info_nce_in_batch(q: Tensor<2>, k: Tensor<2>, temperature: f64) -> Contrast {
    let n = q.dims()[0];
    contrast(q.matmul(k.transpose()) / temperature, 0..n) // [N, N]
}

/// NT-Xent, the normalised temperature-scaled cross-entropy: Chen et al. 2020 (arXiv 2002.05709),
/// Eq. 1.
///
/// `loss = -log( exp(zᵢ·zⱼ/T) / Σₖ exp(zᵢ·zₖ/T) )` for the two views i, j of an image, k over all
/// 2N views but i and over the keys of a `memory`, if there is one, averaged over the 2N views.
///
/// # Shapes
/// `z` is `[2N, D]`, rows of unit length; rows n and N+n are the two views of image n. `memory` is
/// `[K, D]`, a constant.
pub fn nt_xent(z: Tensor<2>, memory: Option<Tensor<2>>, temperature: f64) -> Contrast {
    let [views, _] = z.dims();
    let others = Tensor::<2, Bool>::diag_mask([views; 2], 0, &z.device().without_autodiff());
    let among = z.clone().matmul(z.clone().transpose()).mask_fill(others.bool_not(), NO_LOGIT);
    let similarity = match memory {
        Some(memory) => Tensor::cat(vec![among, z.matmul(memory.transpose())], 1), // [2N, 2N + K]
        None => among,
    };
    contrast(similarity / temperature, (0..views).map(|i| (i + views / 2) % views))
}

/// Cross-entropy with column `own` of each row, and how often that column scores highest.
fn contrast(logits: Tensor<2>, own: impl Iterator<Item = usize> + Clone) -> Contrast {
    let best = logits.clone().without_autodiff().argmax(1).flatten::<1>(0, 1);
    let hits = best.clone().equal(columns(own.clone(), &best.device()).flatten(0, 1));
    Contrast { loss: cross_entropy_at(logits, own), accuracy: hits.float().mean() }
}
