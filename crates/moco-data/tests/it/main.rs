//! Tests of the crate through its public face, in one binary.

mod damage;
mod doctor;
mod faults;
mod formats;
mod golden;
mod loader;
mod mutations;
mod planted;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "remote")]
mod server;
mod sources;
mod statistics;
mod support;
mod synthetic;
mod view;
