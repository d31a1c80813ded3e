//! State that methods share: small parts, each owning its own invariants.

mod bank;
pub mod ema;
mod partition;
mod queue;
mod shuffle;

pub use bank::Bank;
pub use partition::Partition;
pub use queue::Queue;
pub use shuffle::KeyShuffle;
