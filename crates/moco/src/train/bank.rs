//! The memory bank that a run left in its checkpoint.

use super::TrainError;
use super::monitor::remembered;
use crate::eval::Features;
use crate::plan::{Plan, parse_run};
use crate::run::RunDir;
use burn::tensor::Device;
use moco_data::Dataset;
use std::sync::Arc;

/// What a run remembered of its images.
pub struct Bank {
    /// A row for each image that has a label.
    pub rows: Features,
    /// Steps that the run was trained for.
    pub step: usize,
}

/// Whether a run's method remembers a row for each image.
pub fn has_bank(config: &Plan) -> bool {
    config.spec().profile().remembers
}

/// The rows of the newest checkpoint of a run, with the labels of `images`, which must be those that it
/// was trained on: as InstDisc's evaluation has its neighbours, without encoding them (Wu et al. 2018,
/// arXiv 1805.01978, Sec. 3.4; `kNN` of its `test.py` with `recompute_memory` 0).
///
/// # Errors
/// [`TrainError`] when there is no whole checkpoint, for other images than the run's, and for a run
/// that does not fit into memory.
///
/// # Panics
/// If the run's method has no bank, see [`has_bank`].
pub fn open_bank(run: &RunDir, images: &Arc<Dataset>, device: &Device) -> Result<Bank, TrainError> {
    let (checkpoint, _) = run.latest()?;
    let (config, meta) = (parse_run(&checkpoint.meta().config)?, checkpoint.meta());
    let same = meta.data_fingerprint == images.fingerprint();
    let images = match same {
        true => images.clone(),
        false => in_its_order(run, images, meta.data_fingerprint)
            .ok_or_else(|| TrainError::OtherImages(config.data.path.clone()))?,
    };
    config.check_memory(images.len())?;
    let mut method = config.method(images.len(), device);
    checkpoint.restore(&mut [("method", method.as_mut())], device)?;
    let memory = method.memory().expect("a method with a bank");
    Ok(Bank { rows: remembered(&images, memory), step: checkpoint.meta().step })
}

/// The images in the order that the run began with, if none is gone or new.
fn in_its_order(run: &RunDir, images: &Arc<Dataset>, fingerprint: u64) -> Option<Arc<Dataset>> {
    let list = run.read_images().filter(|list| list.fingerprint() == fingerprint)?;
    let (images, changes) = images.in_order_of(list)?;
    (changes.gone.is_empty() && changes.added.0 == 0).then(|| Arc::new(images))
}
