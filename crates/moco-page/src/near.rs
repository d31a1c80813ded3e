//! Nearest neighbours by similarity, exactly, and what follows from them: pairs that are nearly one,
//! and rows that nothing is like.

use crate::Rows;
use moco_kernels::Isa;
use moco_kernels::Weights;
use moco_kernels::linear::{LinearShape, PreparedLinear, linear_forward};
use rayon::prelude::*;

/// Rows compared with all others at once; bounds memory to so many similarities for each row.
const BLOCK: usize = 256;

/// The rows that are most like each row, itself not among them, the most similar first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbours {
    /// Neighbours of a row.
    pub k: usize,
    /// Which rows, `[n, k]`.
    pub rows: Vec<u32>,
    /// How similar, `[n, k]`: cosines for rows of unit length.
    pub similarities: Vec<f32>,
}

impl Neighbours {
    /// Rows that have neighbours.
    pub fn len(&self) -> usize {
        self.rows.len() / self.k.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Neighbours of `row` with their similarities.
    pub fn of(&self, row: usize) -> impl Iterator<Item = (usize, f32)> + Clone + '_ {
        let range = row * self.k..(row + 1) * self.k;
        let rows = self.rows[range.clone()].iter().map(|row| *row as usize);
        rows.zip(self.similarities[range].iter().copied())
    }
}

/// The `k` nearest of every row by inner product, all pairs compared; of equally near ones the
/// earlier rows. Fewer than `k` if there are not so many rows.
pub fn nearest(rows: &Rows, k: usize) -> Neighbours {
    let (n, dim) = (rows.len(), rows.dim());
    let k = k.min(n.saturating_sub(1));
    let isa = Isa::best();
    let shape = |block: usize| LinearShape { rows: block, inputs: dim, outputs: n };
    if k == 0 {
        return Neighbours::default();
    }
    let prepared = PreparedLinear::new(isa, &shape(BLOCK), rows.values());
    let mut found = Neighbours { k, ..Neighbours::default() };
    for (start, block) in (0..).step_by(BLOCK).zip(rows.values().chunks(BLOCK * dim)) {
        let weights = Weights { values: rows.values(), prepared: Some(&prepared) };
        let likeness = linear_forward(isa, &shape(block.len() / dim), block, weights, None);
        let best: Vec<Vec<(u32, f32)>> = likeness
            .par_chunks_exact(n)
            .enumerate()
            .map(|(i, likeness)| best_of(likeness, start + i, k))
            .collect();
        for (row, likeness) in best.into_iter().flatten() {
            found.rows.push(row);
            found.similarities.push(likeness);
        }
    }
    found
}

/// The `k` most similar rows but `own`.
fn best_of(likeness: &[f32], own: usize, k: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<u32> = (0..likeness.len() as u32).filter(|i| *i as usize != own).collect();
    let nearer =
        |a: &u32, b: &u32| likeness[*b as usize].total_cmp(&likeness[*a as usize]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, nearer);
        order.truncate(k);
    }
    order.sort_unstable_by(nearer);
    order.into_iter().map(|row| (row, likeness[row as usize])).collect()
}

/// Two rows and how similar they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The earlier row.
    pub first: usize,
    /// The later row.
    pub second: usize,
    /// Their similarity.
    pub similarity: f32,
}

/// Pairs of neighbours at least so similar, the most similar first, each once.
pub fn alike(neighbours: &Neighbours, threshold: f32) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for row in 0..neighbours.len() {
        for (other, similarity) in neighbours.of(row) {
            // Of a pair that both sides list, the earlier one's.
            let listed = || neighbours.of(other).any(|(back, _)| back == row);
            if similarity >= threshold && (row < other || !listed()) {
                pairs.push(Pair { first: row.min(other), second: row.max(other), similarity });
            }
        }
    }
    let order = |a: &Pair, b: &Pair| {
        let place = (a.first, a.second).cmp(&(b.first, b.second));
        b.similarity.total_cmp(&a.similarity).then(place)
    };
    pairs.sort_by(order);
    pairs
}

/// Rows by the mean similarity of their neighbours, the loneliest first, with that mean.
pub fn loneliest(neighbours: &Neighbours) -> Vec<(usize, f32)> {
    let mean = |row| {
        let sum: f32 = neighbours.of(row).map(|(_, similarity)| similarity).sum();
        (row, sum / neighbours.k as f32)
    };
    let mut rows: Vec<(usize, f32)> = (0..neighbours.len()).map(mean).collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn rows(n: usize, dim: usize) -> Rows {
        let mut random = Random::new(n as u64);
        Rows::new((0..n * dim).map(|_| random.normal() as f32).collect(), dim).unit()
    }

    #[test]
    fn neighbours_are_those_of_loops() {
        let rows = rows(300, 7);
        let found = nearest(&rows, 5);
        for row in [0, 17, 255, 256, 299] {
            let mut all: Vec<(usize, f64)> = (0..rows.len())
                .filter(|other| *other != row)
                .map(|other| {
                    let products = rows.row(row).iter().zip(rows.row(other));
                    (other, products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum())
                })
                .collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            for ((found, similarity), (expected, cosine)) in found.of(row).zip(&all) {
                assert_eq!(found, *expected);
                // Sums of 7 products of at most 1 in f32.
                assert!((f64::from(similarity) - cosine).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn few_rows_have_few_neighbours() {
        assert!(nearest(&rows(1, 3), 5).is_empty());
        assert_eq!(nearest(&rows(3, 3), 5).k, 2);
    }

    #[test]
    fn equal_rows_are_a_pair_and_a_lone_one_is_lonely() {
        let values = vec![1.0, 0.0, 1.0, 0.0, 0.8, 0.6, -1.0, 0.0];
        let found = nearest(&Rows::new(values, 2), 2);
        let pairs = alike(&found, 0.99);
        assert_eq!(pairs, [Pair { first: 0, second: 1, similarity: 1.0 }]);
        assert_eq!(alike(&found, 0.7).len(), 3);
        assert_eq!(loneliest(&found)[0].0, 3);
    }
}
