//! A batch that lies on several processes.

use std::fmt::Debug;

/// The processes that hold parts of one batch, each of as many images: whose statistics are taken over
/// all of it, and what its gradients say of them (SyncBN).
///
/// A pass over a network is a meeting of all of them. They compute the same layers in the same order, so
/// that each asks for the same sums as the others.
pub trait Processes: Debug + Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Puts in the place of each value the sum of those that the processes give; all receive the same.
    fn sum(&self, values: &mut [f64]);
}
