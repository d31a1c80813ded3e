//! Accuracy of an encoder's features on the labelled images of a comparison.

use super::table::{Images, Measured};
use crate::args::CompareArgs;
use crate::eval::labelled;
use crate::ranks::peers;
use crate::score::{Accuracies, backbone_features};
use crate::session::{Machine, load_encoder, untrained};
use anyhow::{Context, ensure};
use moco::eval::{Features, FrozenEncoder, pixel_features};
use moco::run::RunDir;
use moco_data::{Dataset, View};
use std::fs;

/// Neighbours and temperature of kNN, the usual ones.
const NEIGHBOURS: usize = 200;
const TEMPERATURE: f64 = 0.1;
/// Every so many images are test images when there are no others.
const HOLD_OUT: usize = 10;

/// How accuracies are measured, for the table.
pub fn protocol() -> String {
    format!(
        "Of backbone features: kNN with k = {NEIGHBOURS} and T = {TEMPERATURE}, and logistic \
         regression (linear)."
    )
}

/// The labelled images, and how features of them are scored.
pub struct Judge {
    train: Dataset,
    test: Option<Dataset>,
    images: Images,
    machine: Machine,
}

impl Judge {
    /// Opens the images.
    pub fn open(args: &CompareArgs, machine: Machine) -> anyhow::Result<Judge> {
        let train = labelled(&args.data)?;
        let test = args.test.as_deref().map(labelled).transpose()?;
        ensure!(
            test.as_ref().is_none_or(|test| test.class_names() == train.class_names()),
            "the class folders of --test differ from those of --data: give test images of the same \
             classes, or leave --test out"
        );
        let images =
            Images { train: train.fingerprint(), test: test.as_ref().map(Dataset::fingerprint) };
        Ok(Judge { train, test, images, machine })
    }

    /// Where features are computed.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.train.class_names().len()
    }

    /// Accuracy of the pixels themselves, at 32 pixels a side.
    pub fn pixels(&self) -> anyhow::Result<Accuracies> {
        let view: View = "resize(32) center(32) normalize(cifar10)".parse().expect("a view");
        let threads = self.machine.options.threads;
        let of = |set: &Dataset| pixel_features(set, &view, threads, peers());
        let test = self.test.as_ref().map(of).transpose()?;
        Ok(self.score(of(&self.train)?, test))
    }

    /// The images that accuracies are of.
    pub fn images(&self) -> Images {
        self.images
    }

    /// What the accuracies of a run are of.
    pub fn measured(&self, run: &RunDir) -> anyhow::Result<Measured> {
        let path = run.encoder();
        let file = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Measured { encoder: crc32c::crc32c(&file), images: self.images })
    }

    /// Accuracies of a run's encoder, trained and as it was drawn. A collective call.
    pub fn measure(&self, run: &RunDir) -> anyhow::Result<[Accuracies; 2]> {
        let device = &self.machine.device;
        let (trained, config) = load_encoder(run.path(), device)?;
        Ok([self.encoded(trained)?, self.encoded(untrained(&config, device))?])
    }

    fn encoded(&self, encoder: FrozenEncoder) -> anyhow::Result<Accuracies> {
        let mut encoder = encoder.among(peers());
        let threads = self.machine.options.threads;
        let (train, test) =
            backbone_features(&mut encoder, &self.train, self.test.as_ref(), threads)?;
        Ok(self.score(train, test))
    }

    fn score(&self, train: Features, test: Option<Features>) -> Accuracies {
        let held_out = |row: usize| row.is_multiple_of(HOLD_OUT);
        let (train, test) = match test {
            Some(test) => (train, test),
            None => (train.filter(|row| !held_out(row)), train.filter(held_out)),
        };
        Accuracies::of(&train, &test, NEIGHBOURS, TEMPERATURE)
    }
}
