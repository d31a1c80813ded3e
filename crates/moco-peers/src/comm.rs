//! What ranks can say to each other.

use std::fmt::Debug;
use std::time::Duration;

/// Bytes of one message of a large sum. Measured between two ranks on one machine, 100 MB of
/// gradients take less than half as long in pieces of 16 MiB as in one call.
pub const BUCKET_BYTES: usize = 16 << 20;

/// Collective calls among the ranks of a run.
///
/// `what` names the exchange in sentences about ranks that do not answer. An exchange that cannot be
/// completed ends the process with one sentence, since no rank can go on without the others.
pub trait Comm: Debug + Send + Sync {
    /// The own number, in `0..size`.
    fn rank(&self) -> usize;

    /// How many ranks there are, at least 1.
    fn size(&self) -> usize;

    /// The name of the machine that each rank runs on, in the order of the ranks.
    fn hosts(&self) -> Vec<String>;

    /// One line on what carries the messages.
    fn about(&self) -> String;

    /// Replaces `x` by its sum over the ranks, in messages of [`BUCKET_BYTES`].
    fn sum_f32(&self, x: &mut [f32], what: &'static str);

    /// Replaces `x` by its sum over the ranks.
    fn sum_f64(&self, x: &mut [f64], what: &'static str);

    /// Replaces `x` by the largest value of each element over the ranks.
    fn max_f64(&self, x: &mut [f64], what: &'static str);

    /// Everybody's `x`, one after another in the order of the ranks. All are of one length.
    fn gather(&self, x: &[u8], what: &'static str) -> Vec<u8>;

    /// Of `size` equal blocks of the sum of `x` over the ranks, the own one.
    ///
    /// # Panics
    /// If `x` does not split into as many blocks.
    fn reduce_scatter(&self, x: &[f32], what: &'static str) -> Vec<f32>;

    /// `sent[r]` values of `x` go to rank r, one share after another; returns what came, of rank r
    /// `received[r]` values, in the order of the ranks.
    fn all_to_all(
        &self,
        x: &[f32],
        sent: &[usize],
        received: &[usize],
        what: &'static str,
    ) -> Vec<f32>;

    /// Replaces `x` by that of rank `root`. All are of one length.
    fn broadcast(&self, x: &mut [u8], root: usize, what: &'static str);

    /// Returns when all ranks have called it.
    fn barrier(&self, what: &'static str);

    /// Time spent in exchanges so far, most of it in waiting for others.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// Ends all ranks, now, with this exit code.
    fn abort(&self, code: i32) -> !;

    /// Says goodbye: the last call of a rank that has done its work.
    fn finish(&self);
}
