//! The folder of a run: what lies where, and what can be read from it when the run has ended.
//!
//! ```text
//! config.toml ─► RunDir::read_config        encoder.safetensors ─► load_encoder, open_encoder
//! checkpoints/step-*.safetensors ─► RunDir::latest ─► train::Resume
//! ```

mod classifier;
mod config_file;
mod encoder;
mod error;
mod folder;
mod lock;
mod open;

pub use classifier::{ClassifierCard, open_classifier, save_classifier};
pub use config_file::WriteConfigError;
pub use encoder::{EncoderError, TrainedEncoder, load_encoder};
pub use error::{LatestError, RunDirError};
pub use folder::RunDir;
pub use open::open_encoder;
