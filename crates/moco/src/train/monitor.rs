//! Quality while training: kNN and a linear probe on labelled images, and what needs no labels.
//!
//! Everything is measured on a copy of the weights and of images that are the same in every epoch.
//! Several ranks encode the same images together, each a share of them, and end with the same numbers.
//! Nothing is kept from one epoch to the next: the probe is fitted anew each time, on the features
//! that kNN has anyway, so that a run that goes on measures what an uninterrupted one does.

use super::TrainError;
use crate::batch::to_host;
use crate::eval::quality::{Quality, two_views};
use crate::eval::{self, Accuracy, EvalError, Features, FrozenEncoder, Logistic};
use crate::events::{Event, Observer};
use crate::nn::Module;
use crate::plan::Plan;
use burn::tensor::Tensor;
use moco_data::{Dataset, View};
use std::sync::Arc;

/// Every so many images of the training set are queries when there is no test set.
const HOLD_OUT: usize = 10;
/// The probe: fewer images and iterations than `eval linear` takes, to cost no more than kNN.
const PROBE_IMAGES: usize = 10_000;
const PROBE: Logistic = Logistic { l2: 1e-4, iterations: 100 };

/// What is watched of the encoder under training.
pub struct Monitor {
    frozen: FrozenEncoder,
    images: Arc<Dataset>,
    labelled: Option<Labelled>,
    /// The images that quality without labels is measured on, and how they are seen.
    sample: Option<(Vec<usize>, View)>,
    threads: usize,
}

/// Images with labels.
struct Labelled {
    train: Arc<Dataset>,
    test: Option<Dataset>,
}

/// What an epoch's end came to; what was not due is none.
#[derive(Default)]
pub struct Measured {
    /// kNN, and the probe if there is one.
    pub scores: Option<Scores>,
    /// What needs no labels.
    pub quality: Option<Quality>,
}

/// Accuracies.
pub struct Scores {
    /// kNN top-1, 0..=1.
    pub knn: f64,
    /// What kNN was measured with, in words.
    pub protocol: String,
    /// Top-1 of the linear probe, 0..=1.
    pub probe: Option<f64>,
}

impl Monitor {
    /// A monitor of what the configuration wants and the data has, if that is anything. `frozen` makes
    /// the network that takes over the weights under training.
    ///
    /// # Errors
    /// When the configured test images cannot be opened or have other classes.
    pub fn new(
        config: &Plan,
        images: &Arc<Dataset>,
        threads: usize,
        frozen: impl FnOnce() -> FrozenEncoder,
    ) -> Result<Option<Self>, TrainError> {
        let labelled = Labelled::of(config, images)?;
        let sample = match config.monitor.quality_epochs {
            0 => None,
            _ => {
                let first = config.views()[0].clone();
                Some((sample(images.len(), config.monitor.quality_images), first))
            }
        };
        if labelled.is_none() && sample.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { frozen: frozen(), images: images.clone(), labelled, sample, threads }))
    }

    /// Measures the present weights of `encoder`, as far as `due` says for an interval in epochs;
    /// `memory` is what the method remembers of each image, if its rows are to be the neighbours.
    ///
    /// # Errors
    /// [`EvalError`] when a server does not give the images, or the weights are broken.
    pub fn measure(
        &mut self,
        encoder: &mut dyn Module,
        memory: Option<Tensor<2>>,
        config: &Plan,
        due: impl Fn(usize) -> bool,
        observer: &mut dyn Observer,
    ) -> Result<Measured, EvalError> {
        let (knn, quality) = (due(config.monitor.knn_epochs), due(config.monitor.quality_epochs));
        if knn || quality {
            self.frozen.copy_from(encoder);
        }
        Ok(Measured {
            scores: self.scores(memory, config, knn, observer)?,
            quality: self.quality(config, quality, observer)?,
        })
    }

    fn scores(
        &mut self,
        memory: Option<Tensor<2>>,
        config: &Plan,
        due: bool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Scores>, EvalError> {
        let (monitor, threads, images) = (&config.monitor, self.threads, &self.images);
        let Some(Labelled { train, test }) = self.labelled.as_ref().filter(|_| due) else {
            return Ok(None);
        };
        let mut encode = |dataset: &Dataset, stage| {
            let progress =
                &mut |done, total| observer.event(&Event::Progress { stage, done, total });
            eval::features(&mut self.frozen, dataset, monitor.knn_feature, threads, progress)
        };
        let (bank, queries, against) = match (test, memory) {
            (Some(test), Some(memory)) => {
                let queries = encode(test, "kNN: test images")?;
                (remembered(images, memory), queries, "test images against the memory bank")
            }
            (Some(test), None) => {
                let train = encode(train, "kNN: training images")?;
                (train, encode(test, "kNN: test images")?, "test images")
            }
            (None, _) => {
                let all = encode(train, "kNN: training images")?;
                let held_out = |row: usize| row.is_multiple_of(HOLD_OUT);
                (all.filter(|row| !held_out(row)), all.filter(held_out), "held-out images")
            }
        };
        let (k, temperature) = (monitor.knn_k, monitor.knn_temperature);
        let accuracy = eval::knn_among(&bank, &queries, k, temperature, self.frozen.peers());
        let protocol = format!(
            "{} feature, k = {}, T = {}, {} {against}",
            monitor.knn_feature.name(),
            monitor.knn_k.min(bank.len()),
            monitor.knn_temperature,
            accuracy.images
        );
        let probe = monitor.probe.then(|| probe(&bank, &queries).top1);
        Ok(Some(Scores { knn: accuracy.top1, protocol, probe }))
    }

    fn quality(
        &mut self,
        config: &Plan,
        due: bool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Quality>, EvalError> {
        let Some((sample, view)) = self.sample.as_ref().filter(|_| due) else { return Ok(None) };
        let progress = &mut |done, total| {
            observer.event(&Event::Progress { stage: "quality: two views", done, total });
        };
        let feature = config.monitor.knn_feature;
        let (images, threads) = ((&*self.images, sample.as_slice()), self.threads);
        let (views, dim) = two_views(&mut self.frozen, images, view, feature, threads, progress)?;
        // Of fewer than two images that can be read there is nothing to say.
        Ok((views[0].len() > dim).then(|| Quality::of(&views, dim)))
    }
}

impl Labelled {
    fn of(config: &Plan, train: &Arc<Dataset>) -> Result<Option<Self>, TrainError> {
        if config.monitor.knn_epochs == 0 || train.class_names().is_empty() {
            return Ok(None);
        }
        let test = config.monitor.knn_test.as_deref().map(Dataset::open).transpose()?;
        if test.as_ref().is_some_and(|test| test.class_names() != train.class_names()) {
            return Err(TrainError::KnnClasses);
        }
        let train = train.labelled_part().map_or_else(|| train.clone(), Arc::new);
        Ok(Some(Self { train, test: test.map(Dataset::only_labelled) }))
    }
}

/// Which measures to watch where there are no labels, if any is measured.
pub fn advice(config: &Plan, images: &Dataset) -> Option<String> {
    let unlabelled = images.class_names().is_empty() && config.monitor.quality_epochs > 0;
    unlabelled.then(|| {
        "without labels there is no accuracy to watch: watch feature std first, which should rise \
         towards its healthy value, and RankMe beside it, whose fall over several epochs is a \
         beginning collapse; uniformity should fall; LiDAR of two views often falls while a run \
         improves, so that it warns only when it nears 1; alignment is good when low only if \
         uniformity is low too"
            .to_owned()
    })
}

/// `count` of `images`, or all, evenly spread.
fn sample(images: usize, count: usize) -> Vec<usize> {
    let count = count.min(images);
    (0..count).map(|i| i * images / count).collect()
}

/// A linear probe on at most [`PROBE_IMAGES`] of the bank, evenly spread.
fn probe(bank: &Features, queries: &Features) -> Accuracy {
    let every = bank.len().div_ceil(PROBE_IMAGES).max(1);
    eval::logistic(&bank.filter(|row| row.is_multiple_of(every)), queries, PROBE)
}

/// The rows of a memory bank whose images have a label, as features.
pub(super) fn remembered(images: &Dataset, memory: Tensor<2>) -> Features {
    let [_, dim] = memory.dims();
    let (values, count) = (to_host(memory), images.len());
    let all = Features { values, dim, indices: (0..count).collect(), ..Features::default() };
    let mut labelled = all.filter(|image| images.label(image).is_some());
    labelled.labels = labelled.indices.iter().filter_map(|&image| images.label(image)).collect();
    labelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_and_never_larger_than_the_images() {
        assert_eq!(sample(10, 4), [0, 2, 5, 7]);
        assert_eq!(sample(3, 9), [0, 1, 2]);
    }
}
