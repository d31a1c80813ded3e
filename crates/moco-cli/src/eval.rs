//! `moco eval`: accuracy of a frozen encoder on labelled images.

use crate::args::{
    EvalArgs, Feature, FinetuneArgs, KnnArgs, LabelledArgs, LinearArgs, Probe, Solver,
};
use crate::console::Stage;
use crate::data;
use crate::failure::RunFailed;
use crate::session::{Machine, load_encoder};
use anyhow::{Context, bail, ensure};
use moco::config::{FeatureKind, RunConfig};
use moco::eval::{
    self, Accuracy, Features, FineTune, FrozenEncoder, LinearProbe, Logistic, Mixing,
};
use moco::methods;
use moco::report::percent;
use moco_data::Dataset;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const PROBE_STAGE: &str = "linear probe: steps";
const FINETUNE_STAGE: &str = "fine-tuning: steps";

/// Evaluates and prints the accuracy with the protocol it was measured by.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    match &args.probe {
        Probe::Knn(args) => knn(args),
        Probe::Linear(args) => linear(args),
        Probe::Finetune(args) => finetune(args),
    }
}

fn knn(args: &KnnArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    let monitor = &bench.config.monitor;
    let feature = args.feature.map_or(monitor.knn_feature, FeatureKind::from);
    bench.config.check_feature("--feature", feature)?;
    let k = args.k.map_or(monitor.knn_k, |k| k as usize);
    let temperature = args.temperature.unwrap_or(monitor.knn_temperature);
    let (train, test) = (bench.train(feature)?, bench.test(feature)?);
    let accuracy = eval::knn(&train, &test, k, temperature);
    let protocol = json!({
        "probe": "knn",
        "feature": name(feature),
        "k": k.min(train.len()),
        "temperature": temperature,
        "train_images": train.len(),
        "test_images": test.len(),
    });
    print(protocol, accuracy, args.labelled.json);
    Ok(())
}

fn linear(args: &LinearArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    let feature = FeatureKind::from(args.feature);
    bench.config.check_feature("--feature", feature)?;
    let test = bench.test(feature)?;
    let (accuracy, protocol) = match args.solver {
        Solver::Logistic => {
            let train = bench.train(feature)?;
            let settings = Logistic::default();
            let protocol = json!({
                "probe": "linear",
                "solver": "logistic",
                "feature": name(feature),
                "l2": settings.l2,
                "train_images": train.len(),
                "test_images": test.len(),
            });
            (eval::logistic(&train, &test, settings), protocol)
        }
        Solver::Sgd => {
            let view = probe_view(&bench.encoder)?;
            let protocol = json!({
                "probe": "linear",
                "solver": "sgd",
                "feature": name(feature),
                "normalize": args.normalize,
                "view": view.to_string(),
                "epochs": args.epochs,
                "lr": args.lr,
                "batch_size": (args.batch_size as usize).min(bench.train_images.len()),
                "seed": args.seed,
                "train_images": bench.train_images.len(),
                "test_images": test.len(),
            });
            let probe = LinearProbe {
                epochs: args.epochs as usize,
                batch_size: args.batch_size as usize,
                lr: args.lr,
                feature,
                normalize: args.normalize,
                ..LinearProbe::new(view, args.seed, bench.machine.options.threads)
            };
            let mut stage = Stage::new(PROBE_STAGE);
            let train = bench.train_images.clone();
            let accuracy =
                eval::linear_sgd(&mut bench.encoder, train, &test, &probe, &mut |done, total| {
                    stage.advance(PROBE_STAGE, done, total);
                })?;
            (accuracy, protocol)
        }
    };
    print(protocol, accuracy, args.labelled.json);
    Ok(())
}

fn finetune(args: &FinetuneArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    ensure!(
        bench.classes.iter().enumerate().all(|(i, class)| i == *class as usize),
        "the test images lack some classes of the training images: fine-tuning needs the same ones"
    );
    let train = match args.labels {
        share if share < 1.0 => Arc::new(bench.train_images.label_share(share, args.seed)),
        _ => bench.train_images.clone(),
    };
    let view = probe_view(&bench.encoder)?;
    let batch = (args.batch_size as usize).min(train.len());
    let threads = bench.machine.options.threads;
    let usual = FineTune::new(view, args.epochs as usize, batch, args.seed, threads);
    let config = FineTune {
        lr: args.lr.unwrap_or(usual.lr),
        layer_decay: args.layer_decay,
        mixing: Mixing { mixup: args.mixup, cutmix: args.cutmix },
        ..usual
    };
    let protocol = json!({
        "probe": "finetune",
        "labels": args.labels,
        "view": config.view.to_string(),
        "epochs": config.epochs,
        "lr": config.lr,
        "layer_decay": config.layer_decay,
        "weight_decay": config.weight_decay,
        "smoothing": config.smoothing,
        "mixup": config.mixing.mixup,
        "cutmix": config.mixing.cutmix,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "train_images": train.len(),
        "test_images": bench.test_images.len(),
    });
    let network = methods::encoder(&bench.config, &bench.machine.device.clone().autodiff());
    let mut stage = Stage::new(FINETUNE_STAGE);
    let accuracy = eval::fine_tune(
        &mut bench.encoder,
        network,
        train,
        &bench.test_images,
        &config,
        &mut |done, total| stage.advance(FINETUNE_STAGE, done, total),
    )
    .map_err(RunFailed::from)?;
    drop(stage);
    print(protocol, accuracy, args.labelled.json);
    Ok(())
}

/// The published augmentation of the probe: what the evaluation view does, with its resizing
/// replaced by a random crop and a flip.
fn probe_view(encoder: &FrozenEncoder) -> anyhow::Result<moco_data::View> {
    let text = encoder.view.to_string();
    let center = text.split_once("center(").and_then(|(_, rest)| rest.split_once(')'));
    let (size, rest) = match center {
        Some((size, rest)) => (size.to_owned(), rest),
        None => {
            let [height, width] = encoder.view.size();
            let rest = text.find("normalize").map_or("", |start| &text[start..]);
            (format!("{height}x{width}"), rest)
        }
    };
    format!("crop({size}, 0.08..1) flip {}", rest.trim())
        .parse()
        .context("cannot derive the probe's augmentation from data.eval_view")
}

/// An encoder and the labelled images it is measured on.
struct Bench {
    encoder: FrozenEncoder,
    config: RunConfig,
    machine: Machine,
    train_images: Arc<Dataset>,
    test_images: Dataset,
    /// The training set's number of each of the test set's classes.
    classes: Vec<u32>,
}

impl Bench {
    fn open(args: &LabelledArgs) -> anyhow::Result<Bench> {
        let machine = Machine::open(&args.machine)?;
        let (encoder, config) = load_encoder(&args.run, &machine.device)?;
        let train_images = Arc::new(labelled(&args.train)?);
        let test_images = labelled(&args.test)?;
        let classes = match_classes(&train_images, &test_images, &args.test)?;
        Ok(Bench { encoder, config, machine, train_images, test_images, classes })
    }

    fn train(&mut self, feature: FeatureKind) -> anyhow::Result<Features> {
        let threads = self.machine.options.threads;
        encode(&mut self.encoder, &self.train_images, feature, threads, "training images")
    }

    /// Features of the test images, with the training set's class numbers.
    fn test(&mut self, feature: FeatureKind) -> anyhow::Result<Features> {
        let threads = self.machine.options.threads;
        let mut features =
            encode(&mut self.encoder, &self.test_images, feature, threads, "test images")?;
        for label in &mut features.labels {
            *label = self.classes[*label as usize];
        }
        Ok(features)
    }
}

/// Opens images that have classes.
pub fn labelled(path: &Path) -> anyhow::Result<Dataset> {
    let dataset = data::open(path)?;
    if dataset.class_names().is_empty() {
        bail!("{} has no labels: put each class's images into a folder of its own", path.display());
    }
    Ok(dataset)
}

fn match_classes(train: &Dataset, test: &Dataset, test_path: &Path) -> anyhow::Result<Vec<u32>> {
    let number = |class: &String| {
        let found = train.class_names().iter().position(|known| known == class);
        found.map(|number| number as u32).with_context(|| {
            format!(
                "{} has the class `{class}`, which no training image has: the class folders of \
                 --train and --test must have the same names",
                test_path.display()
            )
        })
    };
    test.class_names().iter().map(number).collect()
}

/// Features of all readable images, with a word on stderr about the others.
pub fn encode(
    encoder: &mut FrozenEncoder,
    images: &Dataset,
    feature: FeatureKind,
    threads: usize,
    stage_name: &str,
) -> anyhow::Result<Features> {
    let mut stage = Stage::new(stage_name);
    let features = eval::features(encoder, images, feature, threads, &mut |done, total| {
        stage.advance(stage_name, done, total);
    });
    drop(stage);
    if let Some(first) = features.bad.first() {
        let (bad, total) = (features.bad.len(), images.len());
        let example = format!("for example {}: {}", first.name, first.reason);
        if features.is_empty() {
            bail!("none of the {total} {stage_name} can be read, {example}");
        }
        eprintln!("warning: left out {bad} of {total} {stage_name} that cannot be read, {example}");
    }
    Ok(features)
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

/// A feature's name as in `--feature`.
fn name(feature: FeatureKind) -> &'static str {
    match feature {
        FeatureKind::Backbone => "backbone",
        FeatureKind::Head => "head",
        FeatureKind::LastBlocks => "last-blocks",
    }
}

impl From<Feature> for FeatureKind {
    fn from(feature: Feature) -> FeatureKind {
        match feature {
            Feature::Backbone => FeatureKind::Backbone,
            Feature::Head => FeatureKind::Head,
            Feature::LastBlocks => FeatureKind::LastBlocks,
        }
    }
}
