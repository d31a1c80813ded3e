//! `moco eval knn`.

use super::bench::Bench;
use super::{Measured, print};
use crate::args::KnnArgs;
use crate::data;
use crate::ranks::peers;
use anyhow::{Context, ensure};
use moco::config::FeatureKind;
use moco::eval::{self, Features};
use moco::export::read_origin;
use moco::run::RunDir;
use moco::train::{has_bank, open_bank};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

pub fn run(args: &KnnArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    let monitor = &bench.config.monitor;
    let feature = match args.bank {
        true => FeatureKind::Head,
        false => args.feature.map_or(monitor.knn_feature, FeatureKind::from),
    };
    bench.config.check_feature("--feature", feature)?;
    let k = args.k.map_or(monitor.knn_k, |k| k as usize);
    let temperature = args.temperature.unwrap_or(monitor.knn_temperature);
    let train = match &args.labelled.encoder.run {
        Some(run) if args.bank => remembered(&bench, run, &args.labelled.train)?,
        _ => bench.train(feature)?,
    };
    let test = bench.test(feature)?;
    let accuracy = eval::knn_among(&train, &test, k, temperature, peers());
    let protocol = json!({
        "probe": "knn",
        "feature": feature.name(),
        "neighbours": if args.bank { "memory bank" } else { "encoded" },
        "k": k.min(train.len()),
        "temperature": temperature,
        "train_images": train.len(),
        "test_images": test.len(),
    });
    bench.warn_of_shared_images();
    print(protocol, &Measured::Once(accuracy), args.labelled.json);
    Ok(())
}

/// The rows of the run's memory bank.
fn remembered(bench: &Bench, run: &Path, train: &Path) -> anyhow::Result<Features> {
    let method = &bench.config.method;
    ensure!(
        has_bank(&bench.config) && bench.imported.is_none(),
        "--bank: {} remembers no row for each image, as instdisc and cmc do, so leave it out",
        method.name()
    );
    let dir = RunDir::at(run);
    let images = Arc::new(data::open(train)?);
    let bank = open_bank(&dir, &images, &bench.machine.device).with_context(|| {
        format!("--bank: cannot take the memory of {} for {}", run.display(), train.display())
    })?;
    let encoder = read_origin(&dir.encoder()).ok().flatten().map(|origin| origin.step);
    if let Some(step) = encoder.filter(|step| *step != bank.step) {
        eprintln!(
            "note: the encoder is of step {step}, and the newest checkpoint, whose memory is used, of \
             step {}",
            bank.step
        );
    }
    Ok(bank.rows)
}
