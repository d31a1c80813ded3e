//! What features look like, on one page: numbers and pictures in, text out.
//!
//! ```text
//! features ─► Rows ─► near ─► umap ────► points of a map ─┐
//!               ├───► cluster ─────────► groups           ├─► page ─► one HTML file
//!               └───► spectrum ────────► dead dimensions ─┘
//! ```
//! Everything is a function of its arguments and of a seed: neither the number of threads nor the
//! order of their work shows in a result. No files, no tensors, no training.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod near;
pub mod page;
mod random;
mod rows;
pub mod spectrum;
pub mod umap;

pub use rows::Rows;
