//! Self-supervised visual representation learning around Momentum Contrast.
//!
//! The modules in reading order follow the data:
//!
//! ```text
//! moco_data ─► batch ─► methods(student, key encoder, queue) ─► loss ─► optim ─► checkpoint ─► eval / export
//! ```

#![forbid(unsafe_code)]

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod eval;
pub mod export;
pub mod files;
pub mod layout;
pub mod loss;
pub mod machine;
pub mod methods;
pub mod models;
pub mod nn;
pub mod optim;
pub mod parts;
pub mod report;
pub mod rng;
pub mod schedule;
pub mod train;
