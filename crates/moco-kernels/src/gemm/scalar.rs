//! The definition of the block products, for the tests of the vectorised ones.
#![cfg(test)]

use super::Strided;

/// `c[row][col] += Σ_k a(row, k) b[k][col]` in f64, rounded once.
pub(crate) fn multiply(
    a: Strided,
    b: &[f32],
    b_stride: usize,
    c: &mut [f32],
    c_stride: usize,
    [rows, depth, cols]: [usize; 3],
) {
    for row in 0..rows {
        for col in 0..cols {
            let mut sum = f64::from(c[row * c_stride + col]);
            for k in 0..depth {
                let x = a.data[row * a.row_stride + k * a.k_stride];
                sum += f64::from(x) * f64::from(b[k * b_stride + col]);
            }
            c[row * c_stride + col] = sum as f32;
        }
    }
}
