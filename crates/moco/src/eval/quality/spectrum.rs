//! Spectra of matrices of features, in f64: singular values, and a Cholesky factor.
//!
//! Values alone are asked for, never vectors, and of a few hundred to a few thousand dimensions. That
//! takes 200 lines, for which a library of linear algebra would take minutes to compile.

use rayon::prelude::*;

/// Singular values of a matrix, largest first; as many as the smaller of rows and `dim`.
///
/// They are the roots of the eigenvalues of the smaller of its two Gram matrices, in f64, and thus
/// right to 1e-8 of the largest, far below what f32 features hold.
///
/// # Shapes
/// `[rows, dim]`, row-major.
pub fn singular_values(features: &[f32], dim: usize) -> Vec<f64> {
    of_rows(&features.iter().copied().map(f64::from).collect::<Vec<f64>>(), dim)
}

/// As [`singular_values`].
pub(super) fn of_rows(values: &[f64], dim: usize) -> Vec<f64> {
    let rows = values.len() / dim.max(1);
    let eigenvalues = match rows {
        0 => Vec::new(),
        rows if rows < dim => eigenvalues(gram(&transposed(values, dim), rows), rows),
        _ => eigenvalues(gram(values, dim), dim),
    };
    // What is below 0 is so by rounding alone.
    eigenvalues.into_iter().map(|value| value.max(0.0).sqrt()).collect()
}

fn transposed(values: &[f64], dim: usize) -> Vec<f64> {
    let rows = values.len() / dim;
    (0..dim * rows).map(|i| values[i % rows * dim + i / rows]).collect()
}

/// Rows that are summed before a sum goes to memory.
const STRIP: usize = 64;

/// `XᵀX` of `[rows, dim]`, as `[dim, dim]`.
pub(super) fn gram(values: &[f64], dim: usize) -> Vec<f64> {
    let mut out = vec![0.0; dim * dim];
    for strip in values.chunks(STRIP * dim.max(1)) {
        out.par_chunks_exact_mut(dim.max(1)).enumerate().for_each(|(i, out)| {
            for row in strip.chunks_exact(dim) {
                add_scaled(&mut out[..=i], row[i], &row[..=i]);
            }
        });
    }
    for i in 0..dim {
        for j in 0..i {
            out[j * dim + i] = out[i * dim + j];
        }
    }
    out
}

fn add_scaled(target: &mut [f64], factor: f64, other: &[f64]) {
    target.iter_mut().zip(other).for_each(|(target, other)| *target += factor * other);
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    // Four sums, so that additions need not wait for one another.
    let (mut sums, (ones, others)) = ([0.0; 4], (one.as_chunks::<4>(), other.as_chunks::<4>()));
    for (one, other) in ones.0.iter().zip(others.0) {
        (0..4).for_each(|i| sums[i] += one[i] * other[i]);
    }
    let rest: f64 = ones.1.iter().zip(others.1).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f64>() + rest
}

/// Eigenvalues of a symmetric matrix `[n, n]`, largest first.
pub(super) fn eigenvalues(matrix: Vec<f64>, n: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(matrix, n);
    implicit_ql(&mut diagonal, &mut beside);
    diagonal.sort_by(|a, b| b.total_cmp(a));
    diagonal
}

/// The diagonal of a tridiagonal matrix with the same eigenvalues, and what lies beside it, by
/// Householder reflections from the last row upward (Golub & Van Loan 2013, Alg. 8.3.1).
fn tridiagonal(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n];
    for i in (1..n).rev() {
        // The reflection that takes row i, left of the diagonal, to its last element.
        let (top, bottom) = a.split_at_mut(i * n);
        let v = &mut bottom[..i];
        let length = dot(v, v).sqrt();
        if length == 0.0 {
            continue;
        }
        let last = v[i - 1];
        let target = if last > 0.0 { -length } else { length };
        beside[i] = target;
        v[i - 1] -= target;
        let scale = length * (length + last.abs());
        let v = &*v;
        let mut p: Vec<f64> =
            top.par_chunks_exact(n).map(|row| dot(&row[..i], v) / scale).collect();
        let half = dot(&p, v) / (2.0 * scale);
        add_scaled(&mut p, -half, v);
        top.par_chunks_exact_mut(n).enumerate().for_each(|(j, row)| {
            let (pj, vj) = (p[j], v[j]);
            for ((value, p), v) in row[..i].iter_mut().zip(&p).zip(v) {
                *value -= vj * p + pj * v;
            }
        });
    }
    ((0..n).map(|i| a[i * n + i]).collect(), beside)
}

/// Rotations for one eigenvalue; some two are usual.
const MOST_SWEEPS: usize = 60;

/// Turns the diagonal of a symmetric tridiagonal matrix into its eigenvalues, by QL steps with
/// Wilkinson's shift (Golub & Van Loan 2013, Sec. 8.3.5). `beside[i]` lies between `i - 1` and `i`.
fn implicit_ql(diagonal: &mut [f64], beside: &mut [f64]) {
    let n = diagonal.len();
    beside.rotate_left(n.min(1));
    for l in 0..n {
        for _ in 0..MOST_SWEEPS {
            // The block from l to m that hangs together.
            let negligible = |&m: &usize| {
                let size = diagonal[m].abs() + diagonal[m + 1].abs();
                beside[m].abs() <= f64::EPSILON * size
            };
            let m = (l..n - 1).find(negligible).unwrap_or(n - 1);
            if m == l {
                break;
            }
            sweep(diagonal, beside, l, m);
        }
    }
}

fn sweep(diagonal: &mut [f64], beside: &mut [f64], l: usize, m: usize) {
    let g = (diagonal[l + 1] - diagonal[l]) / (2.0 * beside[l]);
    let root = g.hypot(1.0).copysign(g);
    let mut g = diagonal[m] - diagonal[l] + beside[l] / (g + root);
    let (mut sine, mut cosine, mut carried) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let (f, b) = (sine * beside[i], cosine * beside[i]);
        let r = f.hypot(g);
        beside[i + 1] = r;
        if r == 0.0 {
            diagonal[i + 1] -= carried;
            beside[m] = 0.0;
            return;
        }
        (sine, cosine) = (f / r, g / r);
        g = diagonal[i + 1] - carried;
        let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
        carried = sine * r;
        diagonal[i + 1] = g + carried;
        g = cosine * r - b;
    }
    diagonal[l] -= carried;
    beside[l] = g;
    beside[m] = 0.0;
}

/// The lower triangle L of `L Lᵀ = A`.
pub(super) struct Cholesky {
    lower: Vec<f64>,
    n: usize,
}

impl Cholesky {
    /// Of `matrix / divisor + ridge I`, which is positive definite if the ridge is.
    pub(super) fn of(matrix: Vec<f64>, n: usize, divisor: f64, ridge: f64) -> Cholesky {
        let mut lower = matrix;
        for i in 0..n {
            let (above, rest) = lower.split_at_mut(i * n);
            let row = &mut rest[..n];
            row.iter_mut().for_each(|value| *value /= divisor);
            row[i] += ridge;
            for j in 0..i {
                let other = &above[j * n..=j * n + j];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            // Rounding alone can take it below the ridge, which it began with.
            row[i] = (row[i] - dot(&row[..i], &row[..i])).max(f64::EPSILON * ridge).sqrt();
        }
        Cholesky { lower, n }
    }

    /// `L^-1 x` in the place of each row x.
    pub(super) fn solve_rows(&self, rows: &mut [f64]) {
        rows.par_chunks_exact_mut(self.n.max(1)).for_each(|x| {
            for i in 0..self.n {
                let row = &self.lower[i * self.n..=i * self.n + i];
                x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second difference of a path of n points has the eigenvalues `2 - 2 cos(πk / (n + 1))`.
    #[test]
    fn eigenvalues_of_a_path_are_cosines() {
        for n in [1, 2, 7, 130] {
            let entry = |i: usize| match (i / n).abs_diff(i % n) {
                0 => 2.0,
                1 => -1.0,
                _ => 0.0,
            };
            let found = eigenvalues((0..n * n).map(entry).collect(), n);
            for (k, found) in found.iter().rev().enumerate() {
                let angle = std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64;
                let expected = 2.0 - 2.0 * angle.cos();
                assert!((found - expected).abs() < 1e-12, "{n}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn a_matrix_of_rank_one_has_one_singular_value() {
        let rows: Vec<f32> = (0..12).map(|i| [1.0, 2.0, -2.0][i % 3]).collect();
        let found = singular_values(&rows, 3);
        assert!((found[0] - 6.0).abs() < 1e-12 && found[1] < 1e-6, "{found:?}");
        assert_eq!(singular_values(&rows[..6], 3).len(), 2);
        assert!(singular_values(&[], 3).is_empty());
    }
}
