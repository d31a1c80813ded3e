//! Points attract and repel one another until connected ones lie together: McInnes et al. 2018,
//! Alg. 5, with umap-learn's sampling.

use super::graph::{Edge, Graph};
use crate::random::Random;

/// Rounds for few and for many rows, and how many rows are few: umap-learn's.
const ROUNDS: usize = 500;
const ROUNDS_OF_MANY: usize = 200;
const FEW: usize = 10_000;
/// Drawn points that repel, for each attraction.
const REPELLING: f32 = 5.0;
/// A single pull moves a point no further, before the rate.
const LONGEST: f32 = 4.0;
/// 1 / (1 + a d^(2 b)) fits a map on which points may come as near as 0.1 (`find_ab_params(1, 0.1)`).
pub(super) const A: f32 = 1.576_943_4;
pub(super) const B: f32 = 0.895_060_9;

/// When an edge is due next: strong ones in every round, weak ones rarely.
struct Clock {
    edge: Edge,
    every: f32,
    next: f32,
    repels: f32,
}

/// Moves `points`, a row of the graph each.
pub(super) fn arrange(points: &mut [[f32; 2]], graph: &Graph, seed: u64) {
    let rounds = if points.len() <= FEW { ROUNDS } else { ROUNDS_OF_MANY };
    let mut clocks = clocks(graph, rounds);
    let mut random = Random::new(seed ^ 0x756d_6170);
    for round in 0..rounds {
        let rate = 1.0 - round as f32 / rounds as f32;
        let now = round as f32;
        for clock in clocks.iter_mut().filter(|clock| clock.next <= now) {
            let [head, tail] = [clock.edge.head, clock.edge.tail].map(|row| row as usize);
            attract(points, head, tail, rate);
            clock.next += clock.every;
            let spacing = clock.every / REPELLING;
            let due = ((now - clock.repels) / spacing).max(0.0) as usize;
            for _ in 0..due {
                let other = random.below(points.len());
                if other != head {
                    repel(points, head, other, rate);
                }
            }
            clock.repels += due as f32 * spacing;
        }
    }
}

/// The edges that are due at least once.
fn clocks(graph: &Graph, rounds: usize) -> Vec<Clock> {
    let strongest = graph.edges.iter().map(|edge| edge.weight).fold(0.0, f32::max);
    let kept = graph.edges.iter().filter(|edge| edge.weight * rounds as f32 >= strongest);
    kept.map(|&edge| {
        let every = strongest / edge.weight;
        Clock { edge, every, next: every, repels: every / REPELLING }
    })
    .collect()
}

fn difference(points: &[[f32; 2]], one: usize, other: usize) -> ([f32; 2], f32) {
    let ([x, y], [u, v]) = (points[one], points[other]);
    let by = [x - u, y - v];
    (by, by[0] * by[0] + by[1] * by[1])
}

/// The gradient of the log likelihood of a connection; both ends move.
fn attract(points: &mut [[f32; 2]], head: usize, tail: usize, rate: f32) {
    let (by, squared) = difference(points, head, tail);
    if squared <= 0.0 {
        return;
    }
    let power = squared.powf(B);
    let pull = -2.0 * A * B * power / squared / (A * power + 1.0);
    for axis in 0..2 {
        let step = rate * (pull * by[axis]).clamp(-LONGEST, LONGEST);
        points[head][axis] += step;
        points[tail][axis] -= step;
    }
}

/// The gradient of the log likelihood of no connection; the head alone moves.
fn repel(points: &mut [[f32; 2]], head: usize, other: usize, rate: f32) {
    let (by, squared) = difference(points, head, other);
    if squared <= 0.0 {
        return;
    }
    let push = 2.0 * B / ((0.001 + squared) * (A * squared.powf(B) + 1.0));
    for axis in 0..2 {
        points[head][axis] += rate * (push * by[axis]).clamp(-LONGEST, LONGEST);
    }
}
