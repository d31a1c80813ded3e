//! State that methods share: small parts, each owning its own invariants.

mod center;
pub mod ema;
mod prototypes;
mod queue;
mod recent;
mod shuffle;
mod sinkhorn;

pub use center::Center;
pub use prototypes::Prototypes;
pub use queue::Queue;
pub use recent::RecentFeatures;
pub use shuffle::KeyShuffle;
pub use sinkhorn::sinkhorn;
