//! What a run tells whoever watches it.
//!
//! The trainer emits [`Event`]s to an [`Observer`]; files, progress bars and TensorBoard are observers.
//! Neither knows the other: both know these.

pub use crate::eval::Quality;
use std::path::PathBuf;

/// Receives what happens during a run, in order, on the training thread.
pub trait Observer {
    /// Called once per event. Must not block for long.
    fn event(&mut self, event: &Event);

    /// Whether a checkpoint is wanted now, besides those that are due; asked after every step.
    fn asks_to_save(&mut self) -> bool {
        false
    }
}

/// Everything a run reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// Training begins or resumes.
    Start(Start),
    /// A step was finished.
    Step(StepReport),
    /// An epoch was finished, its monitors included.
    Epoch(EpochReport),
    /// A long stage other than training moves on, for a progress display.
    Progress {
        /// What is being done, e.g. "kNN features".
        stage: &'static str,
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// A full checkpoint is on disk.
    Saved(PathBuf),
    /// An image could not be read and is left out.
    BadFile {
        /// Its name within the data set.
        name: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// Something worth knowing that is not an error.
    Note(String),
    /// Something that is probably wrong with the run.
    Warning(String),
}

/// The frame of a run.
#[derive(Clone, Debug)]
pub struct Start {
    /// Method name.
    pub method: String,
    /// Images in the data set.
    pub images: usize,
    /// Steps in an epoch.
    pub steps_per_epoch: usize,
    /// Steps of the whole run (after `max_steps`).
    pub total_steps: usize,
    /// Steps already done, when resumed.
    pub first_step: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// What the loss should look like.
    pub chance_loss: f64,
}

/// One finished step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps finished so far, this one included (1 after the first).
    pub step: usize,
    /// Epoch this step belongs to, from 0.
    pub epoch: usize,
    /// The loss.
    pub loss: f64,
    /// The learning rate used.
    pub lr: f64,
    /// Further values of the method, e.g. `accuracy`, `feature_std`.
    pub metrics: Vec<(&'static str, f64)>,
    /// Wall time of the step, data wait included, in seconds.
    pub seconds: f64,
    /// Part of `seconds` spent waiting for images.
    pub data_wait: f64,
}

/// One finished epoch.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Epochs finished so far, this one included.
    pub epoch: usize,
    /// Steps finished so far.
    pub step: usize,
    /// Mean loss over the epoch.
    pub loss: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Images per second over the epoch, monitors excluded.
    pub images_per_second: f64,
    /// Share of the epoch spent waiting for images, 0..=1.
    pub data_wait_share: f64,
    /// Seconds of the epoch, monitors excluded.
    pub seconds: f64,
    /// kNN top-1 accuracy, 0..=1, when it was measured.
    pub knn: Option<f64>,
    /// What kNN was measured with, e.g. "backbone feature, k = 200, T = 0.1, 10000 test images".
    pub knn_protocol: Option<String>,
    /// Top-1 accuracy of a linear probe, 0..=1, when it was measured.
    pub probe: Option<f64>,
    /// Quality without labels, when it was measured.
    pub quality: Option<Quality>,
    /// Standard deviation of the normalised features, averaged over channels, and 1/sqrt(D).
    pub feature_std: Option<(f64, f64)>,
    /// Of a run of several ranks, the mean seconds of a step of each, without exchanges; a rank that
    /// is slower than the others holds them up. Empty if there is one rank.
    pub rank_seconds: Vec<f64>,
}
