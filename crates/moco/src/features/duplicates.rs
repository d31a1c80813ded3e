//! Which images of a data set may go because another one stands for them.

use super::nearest::products;
use std::collections::HashMap;
use std::hash::Hash;

/// Rows that are compared with all kept ones at once.
const BLOCK: usize = 1024;

/// An image that another one stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Duplicate {
    /// Its row.
    pub row: usize,
    /// The row of the image that is kept.
    pub kept: usize,
    /// Cosine of the two; 1 for equal contents.
    pub similarity: f32,
}

/// The rows whose content is that of one before them in `order`.
pub fn equal<T: Eq + Hash>(contents: &[T], order: &[usize]) -> Vec<Duplicate> {
    let mut first: HashMap<&T, usize> = HashMap::new();
    let stands_for = |&row: &usize| {
        let kept = *first.entry(&contents[row]).or_insert(row);
        (kept != row).then_some(Duplicate { row, kept, similarity: 1.0 })
    };
    order.iter().filter_map(stands_for).collect()
}

/// The rows that are at least `threshold` like one that is kept.
///
/// Rows are taken in `order`, the best first: a row is kept unless it is so like a row that was kept
/// before it; then the nearest such row stands for it. Every row that may go has thus a near one
/// that stays, and no chain of small differences joins images that differ. `progress` hears (rows
/// done, rows).
///
/// # Shapes
/// `[rows, dim]`, row-major, each row of unit length; `order` names each row at most once.
pub fn near(
    vectors: &[f32],
    dim: usize,
    order: &[usize],
    threshold: f32,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Duplicate> {
    let (mut kept, mut kept_rows): (Vec<f32>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for (block, rows) in order.chunks(BLOCK).enumerate() {
        let row = |&row: &usize| &vectors[row * dim..(row + 1) * dim];
        let values: Vec<f32> = rows.iter().flat_map(row).copied().collect();
        let mut best = best_of(&values, &kept, &kept_rows, dim);
        let within = products(&values, &values, dim);
        for (i, &row) in rows.iter().enumerate() {
            if let Some((stands, similarity)) = best[i].filter(|best| best.1 >= threshold) {
                found.push(Duplicate { row, kept: stands, similarity });
                continue;
            }
            kept_rows.push(row);
            kept.extend(&values[i * dim..(i + 1) * dim]);
            for later in i + 1..rows.len() {
                nearer(&mut best[later], row, within[i * rows.len() + later]);
            }
        }
        progress((block * BLOCK + rows.len()).min(order.len()), order.len());
    }
    found
}

/// For each row of a block, the kept row that it is most like.
fn best_of(
    values: &[f32],
    kept: &[f32],
    kept_rows: &[usize],
    dim: usize,
) -> Vec<Option<(usize, f32)>> {
    let mut best = vec![None; values.len() / dim];
    for (part, rows) in kept.chunks(4 * BLOCK * dim).zip(kept_rows.chunks(4 * BLOCK)) {
        let similarities = products(values, part, dim);
        for (best, similarities) in best.iter_mut().zip(similarities.chunks_exact(rows.len())) {
            for (&row, &similarity) in rows.iter().zip(similarities) {
                nearer(best, row, similarity);
            }
        }
    }
    best
}

fn nearer(best: &mut Option<(usize, f32)>, row: usize, similarity: f32) {
    if best.is_none_or(|(_, least)| similarity > least) {
        *best = Some((row, similarity));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_go_to_the_best() {
        let found = equal(&["a", "b", "a", "a"], &[3, 1, 0, 2]);
        let pairs: Vec<_> = found.iter().map(|found| (found.row, found.kept)).collect();
        assert_eq!(pairs, [(0, 3), (2, 3)]);
    }

    /// Directions at these angles, in degrees.
    fn directions(angles: &[f32]) -> Vec<f32> {
        angles
            .iter()
            .flat_map(|angle| [angle.to_radians().cos(), angle.to_radians().sin()])
            .collect()
    }

    #[test]
    fn whoever_goes_has_a_near_one_that_stays() {
        let threshold = 10f32.to_radians().cos() - 1e-6;
        let found = |angles: &[f32], order: &[usize]| {
            let found = near(&directions(angles), 2, order, threshold, &mut |_, _| ());
            found.into_iter().map(|found| (found.row, found.kept)).collect::<Vec<_>>()
        };
        // A chain of steps of 8 degrees: every second one stays.
        assert_eq!(found(&[0.0, 8.0, 16.0, 24.0], &[0, 1, 2, 3]), [(1, 0), (3, 2)]);
        assert_eq!(found(&[0.0, 8.0, 16.0], &[1, 0, 2]), [(0, 1), (2, 1)]);
        assert_eq!(found(&[0.0, 90.0], &[0, 1]), []);
    }

    #[test]
    fn blocks_do_not_show() {
        let count = 2 * BLOCK + 300;
        let angles: Vec<f32> = (0..count).map(|i| (i * 7919 % count) as f32 * 0.05).collect();
        let (order, threshold) = ((0..count).collect::<Vec<_>>(), 1f32.to_radians().cos());
        let vectors = directions(&angles);
        let found = near(&vectors, 2, &order, threshold, &mut |_, _| ());
        let gone: Vec<usize> = found.iter().map(|found| found.row).collect();
        let stays = |row: usize| !gone.contains(&row);
        for duplicate in &found {
            assert!(stays(duplicate.kept) && duplicate.kept < duplicate.row);
            assert!((angles[duplicate.row] - angles[duplicate.kept]).abs() < 1.01);
        }
        let mut left: Vec<f32> = (0..count).filter(|&row| stays(row)).map(|i| angles[i]).collect();
        left.sort_by(f32::total_cmp);
        assert!(left.is_sorted_by(|a, b| b - a > 0.99), "all that stay are apart");
    }
}
