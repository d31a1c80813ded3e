//! Quality while training: weighted kNN on labelled images.

use super::TrainError;
use super::event::{Event, Observer};
use crate::config::RunConfig;
use crate::eval::{self, EvalError, FrozenEncoder};
use crate::nn::Module;
use moco_data::Dataset;
use std::sync::Arc;

/// Every so many images of the training set are queries when there is no test set.
const HOLD_OUT: usize = 10;

/// kNN accuracy of the encoder under training.
pub struct KnnMonitor {
    frozen: FrozenEncoder,
    train: Arc<Dataset>,
    test: Option<Dataset>,
    threads: usize,
}

/// One measurement.
pub struct KnnScore {
    /// Top-1, 0..=1.
    pub top1: f64,
    /// What was measured, in words.
    pub protocol: String,
}

impl KnnMonitor {
    /// A monitor, if the data has labels and the configuration wants one. `frozen` makes the network
    /// that takes over the weights under training.
    ///
    /// # Errors
    /// When the configured test images cannot be opened or have other classes.
    pub fn new(
        config: &RunConfig,
        train: &Arc<Dataset>,
        threads: usize,
        frozen: impl FnOnce() -> FrozenEncoder,
    ) -> Result<Option<Self>, TrainError> {
        if config.monitor.knn_epochs == 0 || train.class_names().is_empty() {
            return Ok(None);
        }
        let test = config.monitor.knn_test.as_deref().map(Dataset::open).transpose()?;
        if test.as_ref().is_some_and(|test| test.class_names() != train.class_names()) {
            return Err(TrainError::KnnClasses);
        }
        let train = train.labelled_part().map_or_else(|| train.clone(), Arc::new);
        let test = test.map(Dataset::only_labelled);
        Ok(Some(Self { frozen: frozen(), train, test, threads }))
    }

    /// Scores the present weights of `encoder`.
    ///
    /// # Errors
    /// [`EvalError`] when a server does not give the images, or the weights are broken.
    pub fn score(
        &mut self,
        encoder: &mut dyn Module,
        config: &RunConfig,
        observer: &mut dyn Observer,
    ) -> Result<KnnScore, EvalError> {
        let monitor = &config.monitor;
        self.frozen.copy_from(encoder);
        let mut encode = |dataset: &Dataset, stage| {
            let progress =
                &mut |done, total| observer.event(&Event::Progress { stage, done, total });
            eval::features(&mut self.frozen, dataset, monitor.knn_feature, self.threads, progress)
        };
        let all = encode(&self.train, "kNN: training images")?;
        let (bank, queries, against) = match &self.test {
            Some(test) => (all, encode(test, "kNN: test images")?, "test images"),
            None => {
                let held_out = |row: usize| row.is_multiple_of(HOLD_OUT);
                (all.filter(|row| !held_out(row)), all.filter(held_out), "held-out images")
            }
        };
        let accuracy = eval::knn(&bank, &queries, monitor.knn_k, monitor.knn_temperature);
        let protocol = format!(
            "{} feature, k = {}, T = {}, {} {against}",
            monitor.knn_feature.name(),
            monitor.knn_k.min(bank.len()),
            monitor.knn_temperature,
            accuracy.images
        );
        Ok(KnnScore { top1: accuracy.top1, protocol })
    }
}
