//! Exact nearest neighbours by cosine, in bounded memory.
//!
//! Similarities are a matrix product of a block of queries and a block of the collection, by the
//! same kernels that linear layers have; of each block no more is kept than what may be among the
//! best. Nothing is approximate and nothing is built beforehand.

use moco_kernels::Isa;
use moco_kernels::linear::{LinearShape, linear_forward};
use rayon::prelude::*;
use std::cmp::Ordering;

/// Vectors of the collection in a block.
const COLUMNS: usize = 4096;
/// Queries in a block; with [`COLUMNS`] 16 MB of similarities.
const ROWS: usize = 1024;
/// Fewer queries than these are compared one by one: to arrange a block for the product would take
/// longer than the product.
const FEW: usize = 8;

/// A vector of a collection, and how like a query it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its row.
    pub row: u32,
    /// Cosine, -1..=1.
    pub similarity: f32,
}

impl Neighbour {
    /// Nearer first; equally near ones in the order of their rows.
    fn order(&self, other: &Neighbour) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.row.cmp(&other.row))
    }
}

/// For each query its `k` nearest of `collection`, nearest first, or all if there are fewer.
///
/// Similarities are right to rounding in f32, some 1e-6; ties go to the lower row. What is no number
/// is nobody's neighbour.
///
/// # Shapes
/// `[queries, dim]` and `[rows, dim]`, row-major, each row of unit length.
///
/// # Panics
/// If a length is no multiple of `dim`, or there are more than 2^32 rows.
pub fn nearest(queries: &[f32], collection: &[f32], dim: usize, k: usize) -> Vec<Vec<Neighbour>> {
    let dim = dim.max(1);
    assert!(queries.len().is_multiple_of(dim) && collection.len().is_multiple_of(dim), "rows");
    assert!(u32::try_from(collection.len() / dim).is_ok(), "rows are numbered in 32 bits");
    let few = queries.len() / dim <= FEW;
    let mut found = Vec::with_capacity(queries.len() / dim);
    for queries in queries.chunks(ROWS * dim) {
        let mut best: Vec<Best> = queries.chunks_exact(dim).map(|_| Best::of(k)).collect();
        for (block, columns) in collection.chunks(COLUMNS * dim).enumerate() {
            let first = (block * COLUMNS) as u32;
            let width = columns.len() / dim;
            let similarities = if few {
                one_by_one(queries, columns, dim)
            } else {
                products(queries, columns, dim)
            };
            let rows = best.par_iter_mut().zip(similarities.par_chunks_exact(width));
            rows.for_each(|(best, row)| best.see(row, first));
        }
        found.extend(best.into_iter().map(Best::sorted));
    }
    found
}

/// Cosines of every query with every vector of a block: `[queries, columns]`.
pub(super) fn products(queries: &[f32], columns: &[f32], dim: usize) -> Vec<f32> {
    let shape =
        LinearShape { rows: queries.len() / dim, inputs: dim, outputs: columns.len() / dim };
    linear_forward(Isa::best(), &shape, queries, columns.into(), None)
}

fn one_by_one(queries: &[f32], columns: &[f32], dim: usize) -> Vec<f32> {
    let query = |query: &[f32]| -> Vec<f32> {
        columns.par_chunks_exact(dim).with_min_len(64).map(|column| dot(query, column)).collect()
    };
    queries.chunks_exact(dim).flat_map(query).collect()
}

/// Inner product of two vectors of one length.
pub(super) fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (mut sums, (ones, others)) = ([0f32; 16], (one.as_chunks::<16>(), other.as_chunks::<16>()));
    for (one, other) in ones.0.iter().zip(others.0) {
        (0..16).for_each(|i| sums[i] += one[i] * other[i]);
    }
    let rest: f32 = ones.1.iter().zip(others.1).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f32>() + rest
}

/// The best of what was seen so far.
struct Best {
    k: usize,
    /// Up to twice `k`; in no order.
    kept: Vec<Neighbour>,
    /// What a newcomer must exceed.
    least: f32,
}

impl Best {
    fn of(k: usize) -> Best {
        let least = if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Best { k, kept: Vec::new(), least }
    }

    /// Similarities of the rows from `first` on.
    fn see(&mut self, similarities: &[f32], first: u32) {
        const STRIP: usize = 32;
        for (strip, values) in similarities.chunks(STRIP).enumerate() {
            // Nearly every strip ends here; the maximum of a strip takes a few instructions.
            let highest = values.iter().fold(f32::NEG_INFINITY, |most, &value| most.max(value));
            if highest <= self.least {
                continue;
            }
            for (i, &similarity) in values.iter().enumerate() {
                if similarity > self.least {
                    let row = first + (strip * STRIP + i) as u32;
                    self.kept.push(Neighbour { row, similarity });
                    if self.kept.len() >= 2 * self.k.max(8) {
                        self.cut();
                    }
                }
            }
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.k {
            self.kept.select_nth_unstable_by(self.k - 1, Neighbour::order);
            self.kept.truncate(self.k);
            // Rows come in rising order, so that one as near as the last of the best is too late.
            self.least = self.kept[self.k - 1].similarity;
        }
    }

    fn sorted(mut self) -> Vec<Neighbour> {
        self.cut();
        self.kept.sort_unstable_by(Neighbour::order);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use rand::RngExt;

    /// Rows of unit length.
    fn rows(count: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut rng = stream(seed, Purpose::Probe, 0);
        let mut values: Vec<f32> = (0..count * dim).map(|_| rng.random::<f32>() - 0.5).collect();
        for row in values.chunks_exact_mut(dim) {
            let length = dot(row, row).sqrt();
            row.iter_mut().for_each(|value| *value /= length);
        }
        values
    }

    /// By sorting all similarities, in f64.
    fn by_sorting(query: &[f32], collection: &[f32], dim: usize) -> Vec<f64> {
        let product = |row: &[f32]| {
            row.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        let mut all: Vec<f64> = collection.chunks_exact(dim).map(product).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all
    }

    #[test]
    fn the_nearest_are_those_that_sorting_gives() {
        let dim = 48;
        let collection = rows(2 * COLUMNS + 77, dim, 1);
        for (count, k) in [(1, 5), (FEW + 3, 20), (FEW + 3, 1)] {
            let queries = rows(count, dim, 2);
            let found = nearest(&queries, &collection, dim, k);
            for (query, found) in queries.chunks_exact(dim).zip(&found) {
                let expected = by_sorting(query, &collection, dim);
                assert_eq!(found.len(), k);
                for (neighbour, expected) in found.iter().zip(expected) {
                    assert!((f64::from(neighbour.similarity) - expected).abs() < 1e-6);
                    let row = &collection[neighbour.row as usize * dim..][..dim];
                    assert!((dot(row, query) - neighbour.similarity).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_row_and_few_rows_are_all_there_is() {
        let one = [0.6, 0.8].repeat(50);
        let found = nearest(&one[..2], &one, 2, 3);
        assert_eq!(found[0].iter().map(|found| found.row).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(nearest(&one[..2], &one[..4], 2, 9)[0].len(), 2);
        assert!(nearest(&one[..2], &one, 2, 0)[0].is_empty());
        assert!(nearest(&[], &one, 2, 3).is_empty() && nearest(&one[..2], &[], 2, 3)[0].is_empty());
        let broken = [f32::NAN, 0.0, 0.6, 0.8];
        assert_eq!(nearest(&one[..2], &broken, 2, 3)[0].len(), 1);
    }
}
