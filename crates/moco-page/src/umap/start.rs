//! Where points begin: the first two principal components, which keep the map's large form the same
//! from run to run (Kobak & Linderman 2021, "Initialization is critical for preserving global data
//! structure").

use crate::Rows;
use crate::random::Random;
use rayon::prelude::*;

/// Rounds of subspace iteration; the map needs directions, not digits.
const ROUNDS: usize = 60;
/// Vectors carried along: more than are kept, so that the kept ones settle sooner.
const CARRIED: usize = 6;
/// Rows whose sums are added up at a time, so that threads cannot change the order.
const BLOCK: usize = 512;
/// Points begin in a square of this side.
const SIDE: f64 = 10.0;
/// Share of the side by which points are moved apart, lest equal rows stay together for ever.
const JITTER: f64 = 1e-4;

/// The first two principal components of each row, in a square of side 10.
pub(super) fn principal_components(rows: &Rows, seed: u64) -> Vec<[f32; 2]> {
    let mean = rows.mean();
    let mut random = Random::new(seed ^ 0x0070_6361);
    let mut basis: Vec<Vec<f64>> = (0..CARRIED.min(rows.dim()))
        .map(|_| (0..rows.dim()).map(|_| random.normal()).collect())
        .collect();
    orthonormalise(&mut basis);
    for _ in 0..ROUNDS {
        basis = covariance_times(rows, &mean, &basis);
        orthonormalise(&mut basis);
    }
    basis.resize(2.max(basis.len()), vec![0.0; rows.dim()]);
    let scores: Vec<[f64; 2]> = rows
        .iter()
        .map(|row| [0, 1].map(|axis: usize| centred_product(row, &mean, &basis[axis])))
        .collect();
    in_square(&scores, &mut random)
}

fn centred_product(row: &[f32], mean: &[f64], direction: &[f64]) -> f64 {
    let terms = row.iter().zip(mean).zip(direction);
    terms.map(|((value, mean), direction)| (f64::from(*value) - mean) * direction).sum()
}

/// `Xᵀ X v` of the centred rows for every vector, added up block by block.
fn covariance_times(rows: &Rows, mean: &[f64], basis: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let zero = || vec![vec![0.0; rows.dim()]; basis.len()];
    let of_block = |block: &[f32]| {
        let mut sums = zero();
        for row in block.chunks_exact(rows.dim()) {
            for (sum, direction) in sums.iter_mut().zip(basis) {
                let score = centred_product(row, mean, direction);
                let centred = row.iter().zip(mean).map(|(value, mean)| f64::from(*value) - mean);
                sum.iter_mut().zip(centred).for_each(|(sum, value)| *sum += score * value);
            }
        }
        sums
    };
    let blocks: Vec<_> = rows.values().par_chunks(BLOCK * rows.dim()).map(of_block).collect();
    blocks.into_iter().fold(zero(), |mut all, block| {
        for (all, block) in all.iter_mut().zip(block) {
            all.iter_mut().zip(block).for_each(|(all, block)| *all += block);
        }
        all
    })
}

/// Gram and Schmidt; a vector that the others span becomes 0.
fn orthonormalise(basis: &mut [Vec<f64>]) {
    for i in 0..basis.len() {
        let (before, from) = basis.split_at_mut(i);
        let vector = &mut from[0];
        for other in before.iter() {
            let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
            vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        let scale = if length > 1e-12 { 1.0 / length } else { 0.0 };
        vector.iter_mut().for_each(|v| *v *= scale);
    }
    // The sign of a component is arbitrary; its largest part is made positive.
    for vector in basis {
        let largest = vector.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
        if largest.is_some_and(|value| value < 0.0) {
            vector.iter_mut().for_each(|v| *v = -*v);
        }
    }
}

fn in_square(scores: &[[f64; 2]], random: &mut Random) -> Vec<[f32; 2]> {
    let ends = [0, 1].map(|axis: usize| {
        let values = scores.iter().map(|score| score[axis]);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
    });
    let mut place = |score: &[f64; 2]| {
        std::array::from_fn(|axis| {
            let (low, high) = ends[axis];
            let share = (score[axis] - low) / (high - low).max(1e-12);
            (SIDE * (share + JITTER * random.normal())) as f32
        })
    };
    scores.iter().map(&mut place).collect()
}
