//! Optimisers and schedules. A schedule is a pure function of the step.

mod schedule;
mod sgd;

pub use schedule::learning_rate;
pub use sgd::Sgd;
