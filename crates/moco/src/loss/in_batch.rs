//! Contrast among the images of a batch.

use super::{Contrast, cross_entropy_at};
use crate::ops::cross_entropy::{NO_LOGIT, columns};
use burn::tensor::{Bool, Tensor, TensorData};
use moco_peers::Peers;

/// InfoNCE where the negatives are the other keys of the batch: Chen, Xie & He 2021
/// (arXiv 2104.02057), Eq. 1.
///
/// # Shapes
/// `q` and `k` are `[N, D]`, rows of unit length; row n of both is of image n.
pub fn info_nce_in_batch(q: Tensor<2>, k: Tensor<2>, temperature: f64) -> Contrast {
    info_nce_among(q, k, temperature, Peers::SOLO)
}

/// As [`info_nce_in_batch`], for this rank's queries among the keys of all ranks.
///
/// # Shapes
/// `q` is `[n, D]`, `k` `[n R, D]`, its rows by stride.
pub fn info_nce_among(q: Tensor<2>, k: Tensor<2>, temperature: f64, peers: Peers) -> Contrast {
    let n = q.dims()[0];
    let own = (0..n).map(|i| peers.global(i));
    contrast(q.matmul(k.transpose()) / temperature, own) // [n, n R]
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
    nt_xent_among(z.clone(), z, memory, temperature, Peers::SOLO)
}

/// As [`nt_xent`], for this rank's views among those of all ranks.
///
/// # Shapes
/// `z` is `[2n, D]`, `all` `[2n R, D]`, the rows of the ranks by stride.
pub fn nt_xent_among(
    z: Tensor<2>,
    all: Tensor<2>,
    memory: Option<Tensor<2>>,
    temperature: f64,
    peers: Peers,
) -> Contrast {
    let [views, _] = z.dims();
    let itself = own_columns([views, all.dims()[0]], 0, &z, peers);
    let among = z.clone().matmul(all.transpose()).mask_fill(itself, NO_LOGIT);
    let similarity = match memory {
        Some(memory) => Tensor::cat(vec![among, z.matmul(memory.transpose())], 1), // [2N, 2N + K]
        None => among,
    };
    let partner = (0..views).map(|i| peers.global((i + views / 2) % views));
    contrast(similarity / temperature, partner)
}

/// Where row i meets the view that is `offset` rows after it on this rank, among those of all ranks.
pub(super) fn own_columns(
    [rows, columns]: [usize; 2],
    offset: i64,
    like: &Tensor<2>,
    peers: Peers,
) -> Tensor<2, Bool> {
    let device = like.device().without_autodiff();
    if peers.alone() {
        return Tensor::<2, Bool>::diag_mask([rows, columns], offset, &device).bool_not();
    }
    let mut mask = vec![false; rows * columns];
    for row in 0..rows {
        let other = row as i64 + offset;
        if (0..rows as i64).contains(&other) {
            mask[row * columns + peers.global(other as usize)] = true;
        }
    }
    Tensor::from_data(TensorData::new(mask, [rows, columns]), &device)
}

/// Cross-entropy with column `own` of each row, and how often that column scores highest.
fn contrast(logits: Tensor<2>, own: impl Iterator<Item = usize> + Clone) -> Contrast {
    let best = logits.clone().without_autodiff().argmax(1).flatten::<1>(0, 1);
    let hits = best.clone().equal(columns(own.clone(), &best.device()).flatten(0, 1));
    Contrast { loss: cross_entropy_at(logits, own), accuracy: hits.float().mean() }
}
