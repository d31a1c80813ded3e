//! How good a frozen encoder is. Needs models and data; it knows nothing of methods and training: what a
//! paper did with its networks it is told, see [`Protocol`] and [`Refit`].

mod classifier;
mod distill;
mod encode;
mod error;
mod features;
mod finetune;
mod knn;
mod linear;
mod logistic;
mod mix;
mod protocol;
mod published;
pub mod quality;
mod refit;

pub use crate::config::{HeadStart, ProbeDecay, ProbeOptimizer, Protocol, Readout, Refit};
pub use classifier::{Classifier, cross_entropy, soft_cross_entropy};
pub use distill::{Distill, Lessons, distill, distillation};
pub use error::EvalError;
pub use features::{Features, FrozenEncoder, features, pixel_features};
pub use finetune::{FineTune, Tuned, fine_tune, score};
pub use knn::{knn, knn_among};
pub use linear::{LinearProbe, ProbeLayer, linear_sgd};
pub use logistic::{Logistic, logistic};
pub use mix::{Mix, Mixing};
pub use published::Published;
pub use quality::Quality;

pub(crate) use encode::{share_bad, together};
use features::check_finite;
use std::cmp::Ordering;

/// Share of test images classified rightly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// First choice right, 0..=1.
    pub top1: f64,
    /// Right class among the first five, 0..=1.
    pub top5: f64,
    /// Test images.
    pub images: usize,
}

/// The accuracies of a run that was tested on its way, by epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epochs(Vec<(usize, Accuracy)>);

impl Epochs {
    pub(crate) fn push(&mut self, epoch: usize, accuracy: Accuracy) {
        self.0.push((epoch, accuracy));
    }

    /// The accuracy after the last epoch.
    ///
    /// # Panics
    /// If nothing was tested, which probes and fine-tuning do at their end.
    pub fn last(&self) -> Accuracy {
        self.0.last().expect("the last epoch was tested").1
    }

    /// The best top-1 and the first epoch, from 1, that has it. It was chosen on the test images, so it
    /// is too high; many papers report it.
    ///
    /// # Panics
    /// As [`Epochs::last`].
    pub fn best(&self) -> (usize, Accuracy) {
        let better = |a: &&(usize, Accuracy), b: &&(usize, Accuracy)| {
            a.1.top1.total_cmp(&b.1.top1).then(b.0.cmp(&a.0))
        };
        *self.0.iter().max_by(better).expect("the last epoch was tested")
    }
}

impl Accuracy {
    /// As [`Accuracy::from_scores`], of a classifier that was trained here.
    pub(crate) fn of_classifier(
        scores: &[f32],
        classes: usize,
        labels: &[u32],
    ) -> Result<Self, EvalError> {
        match scores.iter().all(|score| score.is_finite()) {
            true => Ok(Self::from_scores(scores, classes, labels)),
            false => Err(EvalError::Diverged),
        }
    }

    /// Counts from per-class scores (higher is better) of each test image.
    pub(crate) fn from_scores(scores: &[f32], classes: usize, labels: &[u32]) -> Self {
        Self::of_hits(hits(scores, classes, labels), labels.len())
    }

    /// Of so many images, those right by the first choice and within five.
    fn of_hits(hits: [usize; 2], images: usize) -> Self {
        let [top1, top5] = hits.map(|hits| hits as f64 / images.max(1) as f64);
        Self { top1, top5, images }
    }
}

/// How many images have their own class first, and among the first five, by their scores.
fn hits(scores: &[f32], classes: usize, labels: &[u32]) -> [usize; 2] {
    let mut hits = [0; 2];
    for (row, &label) in scores.chunks_exact(classes).zip(labels) {
        let own = row[label as usize];
        // Ties count against, so that a constant score earns nothing, and so does what cannot
        // be compared because it is no number.
        let beaten = |c: usize| own.partial_cmp(&row[c]) == Some(Ordering::Greater);
        let better = (0..classes).filter(|&c| c != label as usize && !beaten(c)).count();
        hits[0] += usize::from(better < 1);
        hits[1] += usize::from(better < 5);
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_epoch_is_the_first_that_is_as_good() {
        let of = |top1| Accuracy { top1, top5: 1.0, images: 4 };
        let mut epochs = Epochs::default();
        for (epoch, top1) in [(1, 0.25), (2, 0.75), (3, 0.75), (4, 0.5)] {
            epochs.push(epoch, of(top1));
        }
        assert_eq!((epochs.best(), epochs.last()), ((2, of(0.75)), of(0.5)));
    }

    #[test]
    fn scores_that_are_no_numbers_are_no_hits() {
        let of = |scores: &[f32]| {
            let accuracy = Accuracy::from_scores(scores, 2, &[0, 1]);
            (accuracy.top1, accuracy.top5)
        };
        assert_eq!(of(&[2.0, 1.0, 1.0, 2.0]), (1.0, 1.0));
        assert_eq!(of(&[1.0, 1.0, 1.0, 1.0]), (0.0, 1.0), "ties");
        let nan = f32::NAN;
        assert_eq!(of(&[nan, nan, nan, nan]).0, 0.0);
        assert_eq!(of(&[nan, 1.0, 1.0, nan]).0, 0.0);
        assert_eq!(of(&[1.0, nan, nan, 1.0]).0, 0.0);
    }
}
