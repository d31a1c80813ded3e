//! Tests of the crate through its public face, in one binary.

mod damage;
mod formats;
mod golden;
mod loader;
mod sources;
mod statistics;
mod support;
mod synthetic;
mod view;
