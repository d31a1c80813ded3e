//! State that methods share: small parts, each owning its own invariants.

mod bank;
mod center;
pub mod ema;
mod partition;
mod prototypes;
mod queue;
mod ranks;
mod recent;
mod shuffle;
mod sinkhorn;

pub use bank::Bank;
pub use center::Center;
pub use partition::Partition;
pub use prototypes::Prototypes;
pub use queue::Queue;
pub use ranks::{gather_images, max_over_ranks, mean_over_ranks, own_rows, sum_over_ranks};
pub use recent::RecentFeatures;
pub use shuffle::KeyShuffle;
pub use sinkhorn::{sinkhorn, sinkhorn_among};
