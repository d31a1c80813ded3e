//! `moco eval knn`.

use super::bench::Bench;
use super::{Measured, print};
use crate::args::KnnArgs;
use crate::ranks::peers;
use moco::config::FeatureKind;
use moco::eval;
use serde_json::json;

pub fn run(args: &KnnArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    let monitor = &bench.config.monitor;
    let feature = args.feature.map_or(monitor.knn_feature, FeatureKind::from);
    bench.config.check_feature("--feature", feature)?;
    let k = args.k.map_or(monitor.knn_k, |k| k as usize);
    let temperature = args.temperature.unwrap_or(monitor.knn_temperature);
    let (train, test) = (bench.train(feature)?, bench.test(feature)?);
    let accuracy = eval::knn_among(&train, &test, k, temperature, peers());
    let protocol = json!({
        "probe": "knn",
        "feature": feature.name(),
        "k": k.min(train.len()),
        "temperature": temperature,
        "train_images": train.len(),
        "test_images": test.len(),
    });
    bench.warn_of_shared_images();
    print(protocol, &Measured::Once(accuracy), args.labelled.json);
    Ok(())
}
