//! How good a frozen encoder is. Needs models and data; of the methods it knows the settings, by
//! which it does as each paper did, and nothing of training.

mod classifier;
mod error;
mod features;
mod finetune;
mod knn;
mod linear;
mod logistic;
mod mix;
mod protocol;
pub mod quality;
mod refit;

pub use classifier::{Classifier, cross_entropy, soft_cross_entropy};
pub use error::EvalError;
pub use features::{Features, FrozenEncoder, features, pixel_features};
pub use finetune::{FineTune, fine_tune};
pub use knn::knn;
pub use linear::{LinearProbe, ProbeLayer, linear_sgd};
pub use logistic::{Logistic, logistic};
pub use mix::{Mix, Mixing};
pub use protocol::{ProbeDecay, ProbeOptimizer, Protocol};
pub use quality::Quality;
pub use refit::{Readout, Refit};

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
        let mut hits = [0usize; 2];
        for (row, &label) in scores.chunks_exact(classes).zip(labels) {
            let own = row[label as usize];
            // Ties count against, so that a constant score earns nothing, and so does what cannot
            // be compared because it is no number.
            let beaten = |c: usize| own.partial_cmp(&row[c]) == Some(Ordering::Greater);
            let better = (0..classes).filter(|&c| c != label as usize && !beaten(c)).count();
            hits[0] += usize::from(better < 1);
            hits[1] += usize::from(better < 5);
        }
        let share = |hits: usize| hits as f64 / labels.len().max(1) as f64;
        Self { top1: share(hits[0]), top5: share(hits[1]), images: labels.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
