//! Weighted nearest neighbours: Wu et al. 2018 (arXiv 1805.01978), Sec. 3.4.

use super::{Accuracy, Features};
use crate::batch::to_host;
use burn::tensor::{Device, Tensor, TensorData};
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

    let scores: Vec<f32> = queries
        .chunks(CHUNK * test.dim.max(1))
        .flat_map(|chunk| {
            let rows = chunk.len() / test.dim.max(1);
            let similarity = matrix(chunk.to_vec(), rows).matmul(bank.clone());
            let similarity = to_host(similarity);
            similarity
                .par_chunks_exact(train.len())
                .flat_map_iter(|row| votes(row, &train.labels, classes, k, temperature))
                .collect::<Vec<f32>>()
        })
        .collect();
    Accuracy::from_scores(&scores, classes, &test.labels)
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
