//! `moco eval`: accuracy of an encoder on labelled images.

mod bench;
mod distill;
mod finetune;
mod knn;
mod linear;

pub use bench::{encode, labelled};

use crate::args::{EvalArgs, Feature, Probe};
use moco::config::FeatureKind;
use moco::eval::{Accuracy, Epochs};
use moco::report::percent;
use serde_json::Value;

/// What an evaluation measured.
enum Measured {
    /// Once.
    Once(Accuracy),
    /// After the epochs of a training.
    Epochs(Epochs),
}

impl Measured {
    fn last(&self) -> Accuracy {
        match self {
            Measured::Once(accuracy) => *accuracy,
            Measured::Epochs(epochs) => epochs.last(),
        }
    }
}

/// Evaluates and prints the accuracy with the protocol it was measured by.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    match &args.probe {
        Probe::Knn(args) => knn::run(args),
        Probe::Linear(args) => linear::run(args),
        Probe::Finetune(args) => finetune::run(args),
        Probe::Distill(args) => distill::run(args),
    }
}

fn print(mut protocol: Value, measured: &Measured, as_json: bool) {
    let accuracy = measured.last();
    if as_json {
        protocol["top1"] = accuracy.top1.into();
        protocol["top5"] = accuracy.top5.into();
        if let Measured::Epochs(epochs) = measured {
            let (epoch, best) = epochs.best();
            protocol["best_top1"] = best.top1.into();
            protocol["best_epoch"] = epoch.into();
        }
        println!("{protocol}");
        return;
    }
    println!("top-1 {}   top-5 {}", percent(accuracy.top1, 2), percent(accuracy.top5, 2));
    if let Measured::Epochs(epochs) = measured {
        let (epoch, best) = epochs.best();
        println!(
            "that is the last epoch; the best was epoch {epoch} with top-1 {}, chosen on the test images",
            percent(best.top1, 2)
        );
    }
    let settings = protocol.as_object().into_iter().flatten();
    let settings: Vec<_> = settings.map(|(key, value)| format!("{key} {value}")).collect();
    println!("{}", settings.join(", ").replace('"', ""));
}

impl From<Feature> for FeatureKind {
    fn from(feature: Feature) -> FeatureKind {
        match feature {
            Feature::Backbone => FeatureKind::Backbone,
            Feature::Head => FeatureKind::Head,
            Feature::LastBlocks => FeatureKind::LastBlocks,
            Feature::ClassAndPatches => FeatureKind::ClassAndPatches,
        }
    }
}
