//! Who is connected with whom, and how strongly: McInnes et al. 2018, Alg. 2 and 3.

use crate::near::Neighbours;
use std::collections::BTreeMap;

/// Rounds of bisection, and how near the sum must come: umap-learn's.
const ROUNDS: usize = 64;
const TOLERANCE: f64 = 1e-5;
/// The width of a neighbourhood is at least this share of the mean distance in it.
const NARROWEST: f64 = 1e-3;

/// A connection of two rows, listed from both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// From this row.
    pub head: u32,
    /// To that row.
    pub tail: u32,
    /// How likely they are connected, in 0..=1.
    pub weight: f32,
}

/// The fuzzy graph, in the order of heads and tails.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Every connection, from both of its sides.
    pub edges: Vec<Edge>,
    /// Distance of the nearest other row that lies elsewhere, for each row.
    pub rho: Vec<f32>,
    /// Width of each row's neighbourhood.
    pub sigma: Vec<f32>,
}

impl Graph {
    /// From neighbours, nearest first, and their distances, `[n, k]`.
    ///
    /// # Panics
    /// If there is not one distance for each neighbour.
    pub fn new(neighbours: &Neighbours, distances: &[f32]) -> Graph {
        assert_eq!(neighbours.rows.len(), distances.len(), "one distance for each neighbour");
        let k = neighbours.k.max(1);
        // umap-learn floors the width by the row's own mean, and where that is no guide by all rows'.
        let all = mean(distances) * k as f64 / (k + 1) as f64;
        let widths = distances.chunks_exact(k).map(|own| width(own, all));
        let (rho, sigma): (Vec<f32>, Vec<f32>) = widths.unzip();
        let mut directed = BTreeMap::new();
        for row in 0..neighbours.len() {
            let near = neighbours.of(row).zip(&distances[row * k..]);
            for ((other, _), distance) in near {
                let beyond = f64::from(*distance - rho[row]);
                let weight =
                    if beyond <= 0.0 { 1.0 } else { (-beyond / f64::from(sigma[row])).exp() };
                directed.insert((row as u32, other as u32), weight);
            }
        }
        Graph { edges: united(&directed), rho, sigma }
    }

    /// Sum of each row's weights.
    pub fn degrees(&self) -> Vec<f64> {
        let mut degrees = vec![0.0; self.rho.len()];
        self.edges.iter().for_each(|edge| degrees[edge.head as usize] += f64::from(edge.weight));
        degrees
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// Distance of the nearest that is not at the same place, and the width at which the weights of the
/// neighbourhood come to log2 of its size, the row itself counted.
fn width(distances: &[f32], mean_of_all: f64) -> (f32, f32) {
    let k = distances.len() + 1;
    let target = (k as f64).log2();
    let rho = distances.iter().copied().find(|d| *d > 0.0).unwrap_or(0.0);
    let weights = |sigma: f64| -> f64 {
        let weight = |d: &f32| match f64::from(*d - rho) {
            beyond if beyond > 0.0 => (-beyond / sigma).exp(),
            _ => 1.0,
        };
        distances.iter().map(weight).sum()
    };
    let (mut low, mut high, mut sigma) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..ROUNDS {
        let excess = weights(sigma) - target;
        if excess.abs() < TOLERANCE {
            break;
        }
        if excess > 0.0 {
            high = sigma;
            sigma = f64::midpoint(low, high);
        } else {
            low = sigma;
            sigma = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * sigma };
        }
    }
    // The row itself is among those whose mean is taken, at distance 0.
    let own = mean(distances) * distances.len() as f64 / k as f64;
    let floor = NARROWEST * if rho > 0.0 { own } else { mean_of_all };
    (rho, sigma.max(floor) as f32)
}

/// The fuzzy union of both directions: a + b - a b.
fn united(directed: &BTreeMap<(u32, u32), f64>) -> Vec<Edge> {
    let mut both = BTreeMap::new();
    for (&(head, tail), &weight) in directed {
        let back = directed.get(&(tail, head)).copied().unwrap_or(0.0);
        let weight = weight + back - weight * back;
        both.insert((head, tail), weight);
        both.insert((tail, head), weight);
    }
    let edges = both.into_iter();
    edges.map(|((head, tail), weight)| Edge { head, tail, weight: weight as f32 }).collect()
}
