//! Tests of the crate's public interface, in one program.

mod checkpoints;
mod common;
mod hostile;
mod hub;
mod layouts;
mod mutated;
mod odd;
mod resize;
