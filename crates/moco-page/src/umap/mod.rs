//! A map of rows in the plane on which neighbours lie together: UMAP, McInnes, Healy & Melville 2018
//! (arXiv 1802.03426), with umap-learn's constants.
//!
//! ```text
//! neighbours ─► graph   how likely two rows are connected (Sec. 3.1)
//! rows ───────► start   their first two principal components
//!               layout  connected rows attract, drawn ones repel, one after the other (Sec. 3.2)
//! ```
//! The layout moves points in a fixed order on one thread, so the map is a function of rows and
//! seed. Distances on it mean little; who lies beside whom means much ([`trustworthiness`]).

mod graph;
mod layout;
mod start;
mod trust;

pub use graph::{Edge, Graph};
pub use trust::trustworthiness;

use crate::Rows;
use crate::near::Neighbours;

/// Neighbours of a row that shape the map, the row itself counted: umap-learn's default.
pub const NEIGHBOURS: usize = 15;

/// A point of each row, from the `NEIGHBOURS - 1` nearest others of each.
///
/// `rows` are of unit length; the distance of two is that of their ends, sqrt(2 - 2 cos). The points
/// fill the square from 0 to 10 at their start, and end near it.
///
/// # Panics
/// If there are not as many neighbours' rows as rows.
pub fn umap(rows: &Rows, neighbours: &Neighbours, seed: u64) -> Vec<[f32; 2]> {
    let distances: Vec<f32> =
        neighbours.similarities.iter().map(|cos| (2.0 - 2.0 * cos).max(0.0).sqrt()).collect();
    of_distances(rows, neighbours, &distances, seed)
}

/// As [`umap`], with distances of the neighbours by any measure, `[n, k]`.
///
/// # Panics
/// As [`umap`].
pub fn of_distances(
    rows: &Rows,
    neighbours: &Neighbours,
    distances: &[f32],
    seed: u64,
) -> Vec<[f32; 2]> {
    if rows.len() < 3 {
        // Nothing to arrange: side by side.
        return (0..rows.len()).map(|row| [row as f32, 0.0]).collect();
    }
    assert_eq!(neighbours.len(), rows.len(), "neighbours of every row");
    let graph = Graph::new(neighbours, distances);
    let mut points = start::principal_components(rows, seed);
    layout::arrange(&mut points, &graph, seed);
    points
}
