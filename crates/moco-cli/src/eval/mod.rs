//! `moco eval`: accuracy of an encoder on labelled images.

mod bench;
mod finetune;
mod knn;
mod linear;

pub use bench::{encode, labelled};

use crate::args::{EvalArgs, Feature, Probe};
use moco::config::FeatureKind;
use moco::eval::Accuracy;
use moco::report::percent;
use serde_json::Value;

/// Evaluates and prints the accuracy with the protocol it was measured by.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    match &args.probe {
        Probe::Knn(args) => knn::run(args),
        Probe::Linear(args) => linear::run(args),
        Probe::Finetune(args) => finetune::run(args),
    }
}

fn print(mut protocol: Value, accuracy: Accuracy, as_json: bool) {
    if as_json {
        protocol["top1"] = accuracy.top1.into();
        protocol["top5"] = accuracy.top5.into();
        println!("{protocol}");
        return;
    }
    println!("top-1 {}   top-5 {}", percent(accuracy.top1, 2), percent(accuracy.top5, 2));
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
