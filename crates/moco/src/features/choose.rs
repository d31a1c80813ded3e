//! Which images to label next, by the features of all.

use super::nearest::{dot, nearest, products};
use crate::rng::{Purpose, stream};
use rand::RngExt;
use rayon::prelude::*;

/// Neighbours by which a place is called dense or empty: TypiClust's 20 (Sec. 3.2).
const NEIGHBOURS: usize = 20;
/// Rounds of k-means at most; it ends when nothing moves.
const ROUNDS: usize = 30;
/// Rows that are compared with all centres at once.
const BLOCK: usize = 4096;

/// What makes an image worth a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Images such that every other one is near one of them: the farthest from all chosen so far, one
    /// after the other (Sener & Savarese 2018, arXiv 1708.00489, Alg. 1).
    KCentre,
    /// Images with the nearest neighbours on average.
    Typical,
    /// Images with the farthest neighbours on average (Ramaswamy et al. 2000).
    Unusual,
    /// As many clusters as images are asked for, and the most typical image of each (TypiClust:
    /// Hacohen et al. 2022, arXiv 2202.02794).
    Cluster,
}

/// `count` rows, or all if there are fewer, the first to label first, and a number for each that
/// says why: the distance to those before it for [`Rule::KCentre`], else the mean cosine with its
/// 20 nearest.
///
/// # Shapes
/// `[rows, dim]`, row-major, each row of unit length.
pub fn choose(
    vectors: &[f32],
    dim: usize,
    count: usize,
    rule: Rule,
    seed: u64,
) -> Vec<(usize, f32)> {
    let rows = vectors.len() / dim.max(1);
    let count = count.min(rows);
    let by = |order: fn(f32, f32) -> std::cmp::Ordering| {
        let density = density(vectors, dim);
        let mut all: Vec<(usize, f32)> = density.into_iter().enumerate().collect();
        all.sort_by(|a, b| order(a.1, b.1).then(a.0.cmp(&b.0)));
        all.truncate(count);
        all
    };
    match rule {
        Rule::KCentre => k_centre(vectors, dim, count),
        Rule::Typical => by(|a, b| b.total_cmp(&a)),
        Rule::Unusual => by(|a, b| a.total_cmp(&b)),
        Rule::Cluster => of_clusters(vectors, dim, count, seed),
    }
}

/// Mean cosine of each row with its nearest neighbours, itself left out.
fn density(vectors: &[f32], dim: usize) -> Vec<f32> {
    let found = nearest(vectors, vectors, dim, NEIGHBOURS + 1);
    let mean = |(row, found): (usize, &Vec<super::Neighbour>)| {
        let others = found.iter().filter(|other| other.row as usize != row).take(NEIGHBOURS);
        let others: Vec<f32> = others.map(|other| other.similarity).collect();
        others.iter().sum::<f32>() / others.len().max(1) as f32
    };
    found.iter().enumerate().map(mean).collect()
}

/// Begins with the row that is most like the mean of all.
fn k_centre(vectors: &[f32], dim: usize, count: usize) -> Vec<(usize, f32)> {
    let rows: Vec<&[f32]> = vectors.chunks_exact(dim.max(1)).collect();
    let mut mean = vec![0f64; dim];
    for row in &rows {
        mean.iter_mut().zip(*row).for_each(|(mean, value)| *mean += f64::from(*value));
    }
    let mean: Vec<f32> =
        mean.iter().map(|value| (value / rows.len().max(1) as f64) as f32).collect();
    let like_mean: Vec<f32> = rows.par_iter().map(|row| dot(row, &mean)).collect();
    let Some(mut next) = extreme(&like_mean, |a, b| a > b) else { return Vec::new() };
    let mut nearest = vec![f32::NEG_INFINITY; rows.len()];
    let mut chosen = Vec::with_capacity(count);
    let mut distance = 0.0;
    while chosen.len() < count {
        chosen.push((next, distance));
        let centre = rows[next];
        nearest.par_iter_mut().zip(&rows).for_each(|(nearest, row)| {
            *nearest = nearest.max(dot(row, centre));
        });
        // A row that is chosen is never chosen again, however many are alike.
        nearest[next] = f32::INFINITY;
        if let Some(farthest) = extreme(&nearest, |a, b| a < b) {
            next = farthest;
            distance = (2.0 - 2.0 * nearest[farthest].min(1.0)).max(0.0).sqrt();
        }
    }
    chosen
}

/// The first position whose value comes before all others.
fn extreme(values: &[f32], before: impl Fn(f32, f32) -> bool) -> Option<usize> {
    let first = |best: usize, at: usize| if before(values[at], values[best]) { at } else { best };
    (0..values.len()).reduce(first)
}

/// The most typical row of each cluster, the largest clusters first.
fn of_clusters(vectors: &[f32], dim: usize, count: usize, seed: u64) -> Vec<(usize, f32)> {
    let assigned = clusters(vectors, dim, count, seed);
    let density = density(vectors, dim);
    let mut best: Vec<(usize, Option<usize>)> = vec![(0, None); count];
    for (row, &cluster) in assigned.iter().enumerate() {
        let (size, most) = &mut best[cluster];
        *size += 1;
        if most.is_none_or(|most| density[row] > density[most]) {
            *most = Some(row);
        }
    }
    best.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let mut chosen: Vec<usize> = best.into_iter().filter_map(|(_, row)| row).collect();
    // Of fewer distinct images than clusters, some clusters are empty.
    let others = (0..assigned.len()).filter(|row| !chosen.contains(row));
    let missing: Vec<usize> = others.take(count - chosen.len()).collect();
    chosen.extend(missing);
    chosen.into_iter().map(|row| (row, density[row])).collect()
}

/// Spherical k-means (Dhillon & Modha 2001) from k-means++ (Arthur & Vassilvitskii 2007): the cluster
/// of each row, below `count`.
pub fn clusters(vectors: &[f32], dim: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut centres = first_centres(vectors, dim, count, seed);
    let mut assigned = vec![usize::MAX; vectors.len() / dim.max(1)];
    for _ in 0..ROUNDS {
        let now = assign(vectors, &centres, dim);
        if now == assigned {
            break;
        }
        assigned = now;
        centres = means(vectors, dim, &assigned, centres);
    }
    assigned
}

/// Rows drawn in proportion to their squared distance from those drawn before.
fn first_centres(vectors: &[f32], dim: usize, count: usize, seed: u64) -> Vec<f32> {
    let rows: Vec<&[f32]> = vectors.chunks_exact(dim.max(1)).collect();
    let mut rng = stream(seed, Purpose::Clusters, 0);
    let mut centres = Vec::with_capacity(count * dim);
    let mut distance = vec![1f32; rows.len()];
    for _ in 0..count.min(rows.len()) {
        let total: f64 = distance.iter().copied().map(f64::from).sum();
        let mut left = rng.random::<f64>() * total;
        let passed = |distance: &f32| {
            left -= f64::from(*distance);
            left < 0.0
        };
        let drawn = distance.iter().position(passed).unwrap_or(rows.len() - 1);
        centres.extend_from_slice(rows[drawn]);
        let centre = rows[drawn];
        distance.par_iter_mut().zip(&rows).for_each(|(distance, row)| {
            *distance = distance.min((2.0 - 2.0 * dot(row, centre)).max(0.0));
        });
    }
    centres
}

fn assign(vectors: &[f32], centres: &[f32], dim: usize) -> Vec<usize> {
    let count = centres.len() / dim.max(1);
    let mut assigned = Vec::with_capacity(vectors.len() / dim.max(1));
    for block in vectors.chunks(BLOCK * dim.max(1)) {
        let similarities = products(block, centres, dim);
        let nearest = |row: &[f32]| extreme(row, |a, b| a > b).unwrap_or(0);
        assigned.par_extend(similarities.par_chunks_exact(count).map(nearest));
    }
    assigned
}

/// Mean directions of the clusters; an empty one keeps its centre.
fn means(vectors: &[f32], dim: usize, assigned: &[usize], before: Vec<f32>) -> Vec<f32> {
    let mut sums = vec![0f64; before.len()];
    for (row, &cluster) in vectors.chunks_exact(dim).zip(assigned) {
        let sum = &mut sums[cluster * dim..(cluster + 1) * dim];
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let mut centres = before;
    for (centre, sum) in centres.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)) {
        let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length > 1e-12 {
            centre.iter_mut().zip(sum).for_each(|(c, sum)| *c = (sum / length) as f32);
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three bundles of directions, of 40, 30 and 10 rows, and one row far from all.
    fn bundles() -> Vec<f32> {
        let mut rng = stream(4, Purpose::Probe, 0);
        let mut rows = Vec::new();
        for (axis, count) in [(0, 40), (1, 30), (2, 10)] {
            for _ in 0..count {
                let mut row = [0f32; 5];
                row[axis] = 1.0;
                row.iter_mut().for_each(|value| *value += 0.1 * (rng.random::<f32>() - 0.5));
                rows.push(row);
            }
        }
        rows.push([-1.0, -1.0, -1.0, 0.0, 1.0]);
        rows.iter()
            .flat_map(|row| {
                let length = dot(row, row).sqrt();
                row.map(|value| value / length)
            })
            .collect()
    }

    fn bundle(row: usize) -> usize {
        [40, 70, 80, 81].iter().position(|&end| row < end).unwrap()
    }

    fn chosen(rule: Rule, count: usize) -> Vec<usize> {
        choose(&bundles(), 5, count, rule, 0).into_iter().map(|(row, _)| row).collect()
    }

    #[test]
    fn k_centre_goes_to_every_bundle_and_the_outlier_before_any_twice() {
        let mut found: Vec<usize> = chosen(Rule::KCentre, 4).into_iter().map(bundle).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3]);
        let all = choose(&bundles(), 5, 500, Rule::KCentre, 0);
        assert_eq!(all.len(), 81);
        assert!(all[1..].is_sorted_by(|a, b| a.1 >= b.1), "ever nearer to those before");
    }

    #[test]
    fn the_most_unusual_is_the_outlier_and_the_most_typical_are_in_the_densest_bundles() {
        assert_eq!(chosen(Rule::Unusual, 1), [80]);
        assert!(chosen(Rule::Typical, 20).into_iter().all(|row| bundle(row) < 2));
    }

    #[test]
    fn clusters_are_the_bundles_the_largest_first() {
        let found: Vec<usize> = chosen(Rule::Cluster, 4).into_iter().map(bundle).collect();
        assert_eq!(found, [0, 1, 2, 3]);
        assert_eq!(clusters(&bundles(), 5, 4, 1), clusters(&bundles(), 5, 4, 1));
    }

    #[test]
    fn equal_images_are_chosen_once_each() {
        let alike = [1.0, 0.0].repeat(6);
        for rule in [Rule::KCentre, Rule::Typical, Rule::Unusual, Rule::Cluster] {
            let mut rows: Vec<_> =
                choose(&alike, 2, 9, rule, 0).iter().map(|(row, _)| *row).collect();
            rows.sort_unstable();
            assert_eq!(rows, [0, 1, 2, 3, 4, 5], "{rule:?}");
        }
        assert!(choose(&[], 2, 3, Rule::KCentre, 0).is_empty());
    }
}
