//! Weighted nearest neighbours: Wu et al. 2018 (arXiv 1805.01978), Sec. 3.4.

use super::{Accuracy, Features, hits};
use crate::batch::to_host;
use burn::tensor::{Device, Tensor, TensorData};
use moco_peers::Peers;
use rayon::prelude::*;

/// Test rows compared with the whole training set at once; bounds memory.
const CHUNK: usize = 256;

/// Classifies each test row by its `k` nearest training rows.
///
/// Features are normalised; similarity s is the cosine; a neighbour votes for its class with
/// weight `exp(s / temperature)`.
///
/// # Panics
/// If the widths differ or a set has no labels; callers check both.
pub fn knn(train: &Features, test: &Features, k: usize, temperature: f64) -> Accuracy {
    knn_among(train, test, k, temperature, Peers::SOLO)
}

/// As [`knn`], each of several ranks with the same features classifying a share of the test rows. A
/// collective call with the same result on all.
///
/// # Panics
/// As [`knn`].
pub fn knn_among(
    train: &Features,
    test: &Features,
    k: usize,
    temperature: f64,
    peers: Peers,
) -> Accuracy {
    assert_eq!(train.dim, test.dim, "features of one width");
    assert_eq!(train.len(), train.labels.len(), "a label for each training row");
    assert_eq!(test.len(), test.labels.len(), "a label for each test row");
    let k = k.min(train.len());
    let classes = 1 + train.labels.iter().chain(&test.labels).max().copied().unwrap_or(0) as usize;
    // Similarities of a few hundred megabytes are cheapest on the host whatever trained the network.
    let device = Device::flex();
    let matrix = |values: Vec<f32>, rows: usize| {
        Tensor::<2>::from_data(TensorData::new(values, [rows, train.dim]), &device)
    };
    let bank = matrix(train.normalized(), train.len()).transpose();
    let queries = test.normalized();

    let chunks: Vec<(&[f32], &[u32])> =
        queries.chunks(CHUNK * test.dim.max(1)).zip(test.labels.chunks(CHUNK)).collect();
    let mut right = [0.0; 2];
    for number in peers.share(chunks.len()) {
        let (chunk, labels) = chunks[number];
        let similarity = matrix(chunk.to_vec(), labels.len()).matmul(bank.clone());
        let scores: Vec<f32> = to_host(similarity)
            .par_chunks_exact(train.len())
            .flat_map_iter(|row| votes(row, &train.labels, classes, k, temperature))
            .collect();
        let counts = hits(&scores, classes, labels);
        right.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as f64);
    }
    peers.sum_f64(&mut right, "nearest neighbours");
    Accuracy::of_hits(right.map(|count| count as usize), test.len())
}

/// Votes per class of the `k` most similar rows; equal similarities are taken in order.
fn votes(similarity: &[f32], labels: &[u32], classes: usize, k: usize, t: f64) -> Vec<f32> {
    // What is no number is like nothing.
    let like = |row: u32| match similarity[row as usize] {
        value if value.is_nan() => f32::NEG_INFINITY,
        value => value,
    };
    let mut order: Vec<u32> = (0..similarity.len() as u32).collect();
    let nearer = |&a: &u32, &b: &u32| like(b).total_cmp(&like(a)).then(a.cmp(&b));
    if k < order.len() {
        order.select_nth_unstable_by(k, nearer);
        order.truncate(k);
    }
    let mut votes = vec![0f64; classes];
    for row in order {
        // Relative to the largest possible similarity, so that a small T cannot overflow.
        votes[labels[row as usize] as usize] += ((f64::from(like(row)) - 1.0) / t).exp();
    }
    votes.into_iter().map(|vote| vote as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similarity_that_is_no_number_is_no_neighbour() {
        let found = votes(&[0.5, f32::NAN, 0.9], &[0, 1, 2], 3, 2, 0.1);
        assert!(found[0] > 0.0 && found[1] == 0.0 && found[2] > found[0], "{found:?}");
        let nothing = votes(&[f32::NAN; 3], &[0, 1, 2], 3, 3, 0.1);
        assert_eq!(nothing, [0.0; 3]);
        assert_eq!(Accuracy::from_scores(&nothing, 3, &[1]).top1, 0.0);
    }
}
