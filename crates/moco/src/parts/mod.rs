//! State that methods share: small parts, each owning its own invariants.

pub mod ema;
mod queue;
mod shuffle;

pub use queue::Queue;
pub use shuffle::KeyShuffle;
