//! Tests of the crate through its public face, in one binary.

mod damage;
mod decode;
mod doctor;
mod faults;
mod formats;
mod going_on;
mod golden;
mod holdings;
mod jpeg;
mod lists;
mod loader;
mod mutations;
mod parquet;
mod parts;
mod planted;
#[cfg(feature = "remote")]
mod remote;
mod samples;
#[cfg(feature = "remote")]
mod server;
mod sources;
#[cfg(feature = "remote")]
mod stalls;
mod statistics;
mod support;
mod synthetic;
mod tar;
mod told;
mod view;
