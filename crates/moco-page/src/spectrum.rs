//! How many directions features use: their singular values, and dimensions that say nothing.

use crate::Rows;
use rayon::prelude::*;

/// Rows and columns up to which all singular values are computed; of more rows an even sample is
/// taken, which keeps the work to a second.
const LARGEST: usize = 1024;
/// A dimension whose deviation is below this share of the mean deviation says nothing.
const DEAD: f64 = 0.01;

/// Singular values of rows less their mean, the largest first: `min(rows, columns)` of them, of at
/// most 1024 rows. Their squares are the variances along the principal directions, times the rows.
/// Values below 1e-7 of the largest are rounding.
pub fn singular_values(rows: &Rows) -> Vec<f64> {
    let sample = if rows.dim().min(rows.len()) > LARGEST { &rows.sample(LARGEST) } else { rows };
    let mean = sample.mean();
    let centred: Vec<Vec<f64>> = sample
        .iter()
        .map(|row| row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect())
        .collect();
    let vectors = if sample.len() <= sample.dim() { centred } else { transposed(&centred) };
    let mut values: Vec<f64> =
        eigenvalues(gram(&vectors)).into_iter().map(|value| value.max(0.0).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// As [`singular_values`] says of variances: how many directions hold `share` of all variance.
pub fn directions(singular_values: &[f64], share: f64) -> usize {
    let total: f64 = singular_values.iter().map(|value| value * value).sum();
    let mut held = 0.0;
    let enough = singular_values.iter().position(|value| {
        held += value * value;
        held >= share * total
    });
    enough.map_or(0, |place| place + 1)
}

/// Dimensions that are nearly the same for all rows: their deviation is below 1 % of the mean one.
pub fn dead_dimensions(rows: &Rows) -> usize {
    let mean = rows.mean();
    let mut squares = vec![0.0; rows.dim()];
    for row in rows.iter() {
        let centred = row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean);
        squares.iter_mut().zip(centred).for_each(|(sum, value)| *sum += value * value);
    }
    let deviations: Vec<f64> =
        squares.into_iter().map(|sum: f64| (sum / rows.len().max(1) as f64).sqrt()).collect();
    let mean = deviations.iter().sum::<f64>() / deviations.len() as f64;
    deviations.into_iter().filter(|deviation| *deviation <= DEAD * mean).count()
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|column| rows.iter().map(|row| row[column]).collect()).collect()
}

/// Inner products of all pairs.
fn gram(vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    vectors
        .par_iter()
        .map(|one| vectors.iter().map(|other| product(one, other)).collect())
        .collect()
}

/// Eigenvalues of a symmetric matrix: Householder's tridiagonal form, then implicit QL steps
/// (Golub & Van Loan, "Matrix Computations", Sec. 8.3).
fn eigenvalues(matrix: Vec<Vec<f64>>) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(matrix);
    let n = diagonal.len();
    beside.push(0.0);
    for l in 0..n {
        // Converges cubically; a bound keeps a matrix of strange numbers from going on for ever.
        for _ in 0..60 {
            let small = |m: usize| {
                let scale = diagonal[m].abs() + diagonal[m + 1].abs();
                beside[m].abs() <= f64::EPSILON * scale
            };
            let m = (l..n - 1).find(|m| small(*m)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            implicit_step(&mut diagonal, &mut beside, l, m);
        }
    }
    diagonal
}

/// One QL step with Wilkinson's shift on rows `l..=m`.
fn implicit_step(d: &mut [f64], e: &mut [f64], l: usize, m: usize) {
    let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
    let mut g = d[m] - d[l] + e[l] / (g + g.hypot(1.0).copysign(g));
    let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let (f, b) = (s * e[i], c * e[i]);
        let r = f.hypot(g);
        e[i + 1] = r;
        if r == 0.0 {
            d[i + 1] -= p;
            e[m] = 0.0;
            return;
        }
        (s, c) = (f / r, g / r);
        g = d[i + 1] - p;
        let r = (d[i] - g) * s + 2.0 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0.0;
}

/// Diagonal and what stands beside it, `n` and `n - 1` values, by reflections.
fn tridiagonal(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<f64>) {
    let n = a.len();
    let mut beside = vec![0.0; n.saturating_sub(1)];
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = a[k][k + 1..].to_vec();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        beside[k] = -length.copysign(v[0]);
        if length == 0.0 {
            continue;
        }
        v[0] -= beside[k];
        let scale = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        // A <- H A H with H = 1 - scale v vᵀ, on the rows below k.
        let times = |row: &Vec<f64>| row[k + 1..].iter().zip(&v).map(|(a, v)| a * v).sum::<f64>();
        let mut w: Vec<f64> = a[k + 1..].iter().map(|row| scale * times(row)).collect();
        let half = scale / 2.0 * w.iter().zip(&v).map(|(w, v)| w * v).sum::<f64>();
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= half * v);
        for (row, (v_i, w_i)) in a[k + 1..].iter_mut().zip(v.iter().zip(&w)) {
            let across = row[k + 1..].iter_mut().zip(v.iter().zip(&w));
            across.for_each(|(a, (v, w))| *a -= v_i * w + w_i * v);
        }
    }
    if n > 1 {
        beside[n - 2] = a[n - 2][n - 1];
    }
    ((0..n).map(|i| a[i][i]).collect(), beside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Rows of `rank` directions of falling weight in `dim` dimensions.
    fn of_rank(rank: usize, n: usize, dim: usize) -> Rows {
        let mut random = Random::new(9);
        let mut normal = |count| (0..count).map(|_| random.normal()).collect::<Vec<f64>>();
        let directions: Vec<Vec<f64>> = (0..rank).map(|_| normal(dim)).collect();
        let mut values = Vec::new();
        for _ in 0..n {
            let scores = normal(rank);
            for column in 0..dim {
                let parts = scores.iter().zip(&directions).map(|(s, d)| s * d[column]);
                values.push(parts.sum::<f64>() as f32);
            }
        }
        Rows::new(values, dim)
    }

    #[test]
    fn a_low_rank_is_seen() {
        for (n, dim) in [(50, 20), (20, 50)] {
            let values = singular_values(&of_rank(3, n, dim));
            assert_eq!(values.len(), 20);
            assert!(values[2] > 1.0 && values[3] < 1e-5 * values[0], "{values:?}");
            assert!((1..=3).contains(&directions(&values, 0.99)));
            assert_eq!(directions(&values, 1e-9), 1);
        }
    }

    /// The sum of the squares is the sum of all centred values' squares, whatever the rotation.
    #[test]
    fn squares_add_up_to_the_variance() {
        let rows = of_rank(30, 40, 30);
        let mean = rows.mean();
        let centred = rows.iter().flat_map(|row| row.iter().zip(&mean));
        let expected: f64 = centred.map(|(v, m)| (f64::from(*v) - m).powi(2)).sum();
        let found: f64 = singular_values(&rows).iter().map(|value| value * value).sum();
        assert!((found / expected - 1.0).abs() < 1e-10, "{found} {expected}");
    }

    #[test]
    fn constant_columns_are_dead() {
        let mut random = Random::new(1);
        let row = |_| [random.normal() as f32, 0.5, random.normal() as f32, 0.0];
        let rows = Rows::new((0..30).flat_map(row).collect(), 4);
        assert_eq!(dead_dimensions(&rows), 2);
        let constant = Rows::new(vec![1.0; 12], 4);
        assert_eq!(dead_dimensions(&constant), 4);
        assert!(singular_values(&constant).iter().all(|value| *value == 0.0));
        assert_eq!(singular_values(&Rows::new(vec![1.0, 2.0], 2)), [0.0]);
    }
}
