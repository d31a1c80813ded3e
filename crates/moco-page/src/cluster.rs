//! Groups of similar rows: k-means, Lloyd 1982, from the start of Arthur & Vassilvitskii 2007
//! ("k-means++").

use crate::Rows;
use crate::random::Random;
use rayon::prelude::*;

/// Rounds after which a grouping is good enough to look at.
const ROUNDS: usize = 40;

/// The group of each row, in `0..k` or fewer: large groups first, none empty.
///
/// A function of the rows, of `k` and of `seed`.
pub fn k_means(rows: &Rows, k: usize, seed: u64) -> Vec<usize> {
    let k = k.min(rows.len());
    if k == 0 {
        return Vec::new();
    }
    let mut centres = first_centres(rows, k, &mut Random::new(seed));
    let mut groups = assign(rows, &centres);
    for _ in 0..ROUNDS {
        centres = means(rows, &groups, &centres);
        let next = assign(rows, &centres);
        if next == groups {
            break;
        }
        groups = next;
    }
    by_size(groups, k)
}

/// Each next centre is a row drawn in proportion to its squared distance from those so far.
fn first_centres(rows: &Rows, k: usize, random: &mut Random) -> Vec<Vec<f32>> {
    let mut centres = vec![rows.row(random.below(rows.len())).to_vec()];
    let mut distance: Vec<f64> = rows.iter().map(|row| squared(row, &centres[0])).collect();
    while centres.len() < k {
        let mut left = random.unit() * distance.iter().sum::<f64>();
        let drawn = distance.iter().position(|d| {
            left -= d;
            left < 0.0
        });
        let centre = rows.row(drawn.unwrap_or(0)).to_vec();
        for (near, row) in distance.iter_mut().zip(rows.iter()) {
            *near = near.min(squared(row, &centre));
        }
        centres.push(centre);
    }
    centres
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    let squares: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    f64::from(squares)
}

/// The nearest centre of each row, of equally near ones the first.
fn assign(rows: &Rows, centres: &[Vec<f32>]) -> Vec<usize> {
    let nearest = |row: &[f32]| {
        let distances = centres.iter().map(|centre| squared(row, centre)).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(group, _)| group)
    };
    rows.values().par_chunks_exact(rows.dim()).map(nearest).collect()
}

/// The mean of each group; a group without rows keeps its centre.
fn means(rows: &Rows, groups: &[usize], before: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut sums = vec![vec![0.0f64; rows.dim()]; before.len()];
    let mut counts = vec![0usize; before.len()];
    for (row, &group) in rows.iter().zip(groups) {
        counts[group] += 1;
        sums[group].iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let mean = |((sum, count), before): ((Vec<f64>, usize), &Vec<f32>)| match count {
        0 => before.clone(),
        _ => sum.into_iter().map(|sum| (sum / count as f64) as f32).collect(),
    };
    sums.into_iter().zip(counts).zip(before).map(mean).collect()
}

/// Groups numbered by size.
fn by_size(groups: Vec<usize>, k: usize) -> Vec<usize> {
    let mut sizes = vec![0usize; k];
    groups.iter().for_each(|&group| sizes[group] += 1);
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by_key(|&group| (std::cmp::Reverse(sizes[group]), group));
    let mut place = vec![0; k];
    order.into_iter().enumerate().for_each(|(at, group)| place[group] = at);
    groups.into_iter().map(|group| place[group]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` rows around each of a few far corners.
    fn corners(counts: &[usize]) -> Rows {
        let mut random = Random::new(3);
        let mut values = Vec::new();
        for (corner, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                let at = |axis| if axis == corner { 10.0 } else { 0.0 };
                values.extend((0..4).map(|axis| (at(axis) + random.normal()) as f32));
            }
        }
        Rows::new(values, 4)
    }

    #[test]
    fn far_corners_are_groups_and_the_largest_is_first() {
        let groups = k_means(&corners(&[10, 30, 20]), 3, 5);
        assert!(groups[..10].iter().all(|group| *group == 2), "{groups:?}");
        assert!(groups[10..40].iter().all(|group| *group == 0), "{groups:?}");
        assert!(groups[40..].iter().all(|group| *group == 1), "{groups:?}");
    }

    #[test]
    fn fewer_rows_than_groups_and_equal_rows_are_no_trouble() {
        assert!(k_means(&Rows::new(Vec::new(), 2), 3, 0).is_empty());
        assert_eq!(k_means(&Rows::new(vec![1.0; 8], 2), 3, 0), [0; 4]);
    }
}
