//! Why a run cannot start or go on.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::eval::EvalError;
use crate::files::NoRoom;
use crate::run::{LatestError, RunDirError, WriteConfigError};
use moco_data::DataError;
use std::path::PathBuf;

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The run's folder.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The monitor.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The data set is not the one that the checkpoint was trained on.
    #[error("{} is not the data set that this run was started with, and what has changed cannot be told image by image: restore it, take it as it is with --accept-new-data, or start a new run", .0.display())]
    DataChanged(PathBuf),
    /// A memory bank is asked for other images than it remembers.
    #[error("the memory has a row for each image that the run began with, in {}, and these are others: give --train the run's own images", .0.display())]
    OtherImages(PathBuf),
    /// The disk is full.
    #[error("{full}: make room and run `moco pretrain --resume {run}`; {last}")]
    NoRoom {
        /// The disk, what is free and what is needed.
        full: NoRoom,
        /// The run's folder, as a word for a shell.
        run: String,
        /// The last good checkpoint, as half a sentence.
        last: String,
    },
    /// Too many images are gone.
    #[error("{count} of the {images} images are gone since the run began ({:.2} %, more than the {:.2} % allowed), such as `{example}`: restore them, go on without them by raising data.max_bad_share, or take the images as they are with --accept-new-data", 100.0 * *count as f64 / *images as f64, 100.0 * share)]
    ImagesGone {
        /// How many, without those that were known to be bad.
        count: usize,
        /// Images that the run began with.
        images: usize,
        /// One of them.
        example: String,
        /// The share that may be gone, in 0..=1.
        share: f64,
    },
    /// Another data set for a method that remembers each image.
    #[error(
        "--accept-new-data: {0} remembers every image by its number, which other images would not have: leave it out, or start a new run"
    )]
    ImagesRemembered(String),
    /// The images failed in the middle of a run, whose state is saved.
    #[error("{source}; the run is saved after step {step}, go on with `{mend}`")]
    Images {
        /// What is wrong with them.
        source: Box<DataError>,
        /// Steps finished.
        step: usize,
        /// The command that goes on.
        mend: String,
    },
    /// The weights are no longer numbers.
    #[error(
        "the weights are no finite numbers, or too large to compute with, after step {step}, for example {what}: {mend}; lower optim.lr or raise method.temperature and start again"
    )]
    BrokenWeights {
        /// Where it was seen.
        what: String,
        /// Steps finished.
        step: usize,
        /// Where the last good state is.
        mend: String,
    },
    /// More ranks than can share what is to be done.
    #[error("{0}")]
    Ranks(String),
    /// Another rank cannot go on.
    #[error("rank {rank} on {host}: {reason}")]
    Peer {
        /// Its number.
        rank: usize,
        /// Its machine.
        host: String,
        /// What it says.
        reason: String,
    },
    /// Labelled test images that the training images cannot classify.
    #[error(
        "the class folders of monitor.knn_test differ from those of the training images: give test images of the same classes, or leave it out"
    )]
    KnnClasses,
    /// The loss is no longer a number.
    #[error(
        "the loss became {loss} at step {step}: {mend}; lower optim.lr or raise method.temperature and start again"
    )]
    NonFinite {
        /// The value.
        loss: f64,
        /// Steps finished before.
        step: usize,
        /// Where the last good state is.
        mend: String,
    },
}

impl From<LatestError> for TrainError {
    fn from(error: LatestError) -> Self {
        match error {
            LatestError::Dir(error) => error.into(),
            LatestError::Checkpoint(error) => error.into(),
        }
    }
}

impl From<WriteConfigError> for TrainError {
    fn from(error: WriteConfigError) -> Self {
        match error {
            WriteConfigError::Config(error) => error.into(),
            WriteConfigError::File(error) => error.into(),
        }
    }
}
