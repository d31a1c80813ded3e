//! How well features tell classes apart, as the demo and a comparison measure it.

use crate::eval::encode;
use crate::ranks::peers;
use moco::config::FeatureKind;
use moco::eval::{Features, FrozenEncoder, Logistic, knn_among, logistic};
use moco_data::Dataset;

/// Top-1 accuracies of one kind of features, 0..=1.
#[derive(Clone, Copy, Debug)]
pub struct Accuracies {
    /// Weighted nearest neighbours.
    pub knn: f64,
    /// Logistic regression.
    pub linear: f64,
}

impl Accuracies {
    /// Scores features of test images by those of training images. A collective call.
    pub fn of(train: &Features, test: &Features, k: usize, temperature: f64) -> Self {
        Self {
            knn: knn_among(train, test, k.min(train.len()), temperature, peers()).top1,
            linear: logistic(train, test, Logistic::default()).top1,
        }
    }
}

/// Backbone features of training images, and of test images if there are any.
pub fn backbone_features(
    encoder: &mut FrozenEncoder,
    train: &Dataset,
    test: Option<&Dataset>,
    threads: usize,
) -> anyhow::Result<(Features, Option<Features>)> {
    let mut of = |set: &Dataset, stage| encode(encoder, set, FeatureKind::Backbone, threads, stage);
    let train = of(train, "training images")?;
    Ok((train, test.map(|test| of(test, "test images")).transpose()?))
}
