//! How far a map may be trusted: Venna & Kaski 2001, "Neighborhood preservation in nonlinear
//! projection methods", Eq. 1.

use crate::Rows;
use rayon::prelude::*;

/// 1 if the `k` nearest points of every point are among the `k` nearest rows of its row; less the
/// further away in the rows those that are not lie. Distances are Euclidean; the cost grows with the
/// square of the rows.
///
/// # Panics
/// Unless there is one point for each row and 3 k + 1 < 2 n.
pub fn trustworthiness(rows: &Rows, points: &[[f32; 2]], k: usize) -> f64 {
    let n = rows.len();
    assert_eq!(n, points.len(), "one point for each row");
    assert!(3 * k + 1 < 2 * n, "{k} neighbours of {n} rows");
    let penalty = |row: usize| -> usize {
        let of_rows = |other: usize| {
            let pairs = rows.row(row).iter().zip(rows.row(other));
            pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let of_points = |other: usize| {
            let pairs = points[row].iter().zip(points[other]);
            pairs.map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).sum::<f64>()
        };
        let mut rank = vec![0; n];
        for (place, other) in ordered(n, row, of_rows).into_iter().enumerate() {
            rank[other] = place + 1;
        }
        let near = ordered(n, row, of_points).into_iter().take(k);
        near.map(|other| rank[other].saturating_sub(k)).sum()
    };
    let penalties: usize = (0..n).into_par_iter().map(penalty).sum();
    let worst = (n * k * (2 * n - 3 * k - 1)) as f64;
    1.0 - 2.0 * penalties as f64 / worst
}

/// All rows but `own`, the nearest first.
fn ordered(n: usize, own: usize, distance: impl Fn(usize) -> f64) -> Vec<usize> {
    let distances: Vec<f64> = (0..n).map(distance).collect();
    let mut order: Vec<usize> = (0..n).filter(|row| *row != own).collect();
    order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]).then(a.cmp(b)));
    order
}
