//! What the ranks of a run say to each other.
//!
//! A run of R ranks is R processes that each compute a share of every batch. [`Comm`] is what they
//! can say, and three can say it: [`Solo`], who is alone; [`Threads`], ranks in one process, for
//! tests; and [`Mpi`], processes on one or many machines. [`Peers`] is the handle that networks,
//! methods and the training loop hold.
//!
//! ```text
//! environment ─► launched() ─► Mpi::open ─► Peers ─► all-reduce, all-gather, all-to-all, ...
//!                     └─ nobody ─► Solo ─┘              └─ Watch: ends a run that hangs
//! ```
//!
//! Every call is collective: all ranks make the same calls in the same order, with the same `what`,
//! which names the exchange for people ("gradients", "keys"). Sums are the same bits on all ranks,
//! and a function of the values and of the number of ranks.

mod comm;
mod launch;
mod mpi;
mod peers;
mod solo;
mod threads;
mod watch;

pub use comm::{BUCKET_BYTES, Comm};
pub use launch::{Launch, Launcher, launched};
pub use mpi::{Mpi, MpiError, found};
pub use peers::{Failure, Peers};
pub use solo::Solo;
pub use threads::Threads;
