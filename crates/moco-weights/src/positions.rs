//! Fixed tables of positions.

use crate::architecture::Positions;
use crate::tensor::{Dtype, Values};

/// Longest wavelength, in patches over 2 pi (Vaswani et al. 2017, arXiv 1706.03762, Sec. 3.5).
const LONGEST: f64 = 10_000.0;

/// Which of the fixed tables of sines and cosines `[1, N, D]` is, on a square grid with or without a
/// row of zeros in front; `None` for any other.
pub(crate) fn fixed_table(values: &Values, dtype: Dtype) -> Option<Positions> {
    let &[1, rows, width] = values.shape.as_slice() else { return None };
    if width == 0 || width % 4 != 0 {
        return None;
    }
    let side = |rows: usize| Some(rows.isqrt()).filter(|side| side * side == rows && *side > 1);
    let (front, side) = match (side(rows), side(rows.saturating_sub(1))) {
        (Some(side), _) => (0, side),
        (None, Some(side)) => (1, side),
        (None, None) => return None,
    };
    let tolerance = if dtype.bytes() < 4 { 4e-3 } else { 1e-5 };
    let is = |row_first: bool| {
        let zeros = &values.data[..front * width];
        let table = &values.data[front * width..];
        zeros.iter().all(|&v| v == 0.0)
            && table.chunks(width).enumerate().all(|(i, row)| {
                let (down, across) = (i / side, i % side);
                let (first, second) = if row_first { (down, across) } else { (across, down) };
                let (a, b) = row.split_at(width / 2);
                is_wave(a, first, tolerance) && is_wave(b, second, tolerance)
            })
    };
    [(true, Positions::SincosRowFirst), (false, Positions::SincosColumnFirst)]
        .into_iter()
        .find_map(|(row_first, positions)| is(row_first).then_some(positions))
}

/// Whether values are the sines, then the cosines of a position.
fn is_wave(values: &[f32], at: usize, tolerance: f64) -> bool {
    let count = values.len() / 2;
    (0..count).all(|i| {
        let angle = at as f64 / LONGEST.powf(i as f64 / count as f64);
        (f64::from(values[i]) - angle.sin()).abs() < tolerance
            && (f64::from(values[count + i]) - angle.cos()).abs() < tolerance
    })
}
