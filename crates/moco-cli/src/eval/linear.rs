//! `moco eval linear`: logistic regression, or the probe of the method's paper.

use super::bench::{Bench, probe_view};
use super::print;
use crate::args::{LinearArgs, ProbeRule, Schedule, SgdArgs, Solver};
use crate::console::Stage;
use anyhow::ensure;
use moco::config::FeatureKind;
use moco::eval::{self, Accuracy, LinearProbe, Logistic, ProbeDecay, ProbeOptimizer, Protocol};
use serde_json::{Value, json};

const STAGE: &str = "linear probe: steps";

pub fn run(args: &LinearArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    let feature = args.feature.map(FeatureKind::from);
    let (accuracy, protocol) = match args.solver {
        Solver::Logistic => logistic(&mut bench, feature.unwrap_or(FeatureKind::Backbone))?,
        Solver::Sgd => sgd(&mut bench, feature, &args.sgd)?,
    };
    bench.warn_of_shared_images();
    print(protocol, accuracy, args.labelled.json);
    Ok(())
}

fn logistic(bench: &mut Bench, feature: FeatureKind) -> anyhow::Result<(Accuracy, Value)> {
    bench.config.check_feature("--feature", feature)?;
    let (train, test) = (bench.train(feature)?, bench.test(feature)?);
    let settings = Logistic::default();
    let protocol = json!({
        "probe": "linear",
        "solver": "logistic",
        "feature": feature.name(),
        "l2": settings.l2,
        "train_images": train.len(),
        "test_images": test.len(),
    });
    Ok((eval::logistic(&train, &test, settings), protocol))
}

fn sgd(
    bench: &mut Bench,
    feature: Option<FeatureKind>,
    args: &SgdArgs,
) -> anyhow::Result<(Accuracy, Value)> {
    let usual = Protocol::of(&bench.config);
    let probe = LinearProbe {
        view: probe_view(&bench.encoder)?,
        protocol: changed(usual, feature, args, bench.train_images.len())?,
        seed: args.seed,
        threads: bench.machine.options.threads,
    };
    let feature = probe.protocol.feature;
    bench.config.check_feature("--feature", feature)?;
    let test = bench.test(feature)?;
    let mut stage = Stage::new(STAGE);
    let train = bench.train_images.clone();
    let accuracy =
        eval::linear_sgd(&mut bench.encoder, train, &test, &probe, &mut |done, total| {
            stage.advance(STAGE, done, total);
        })?;
    drop(stage);
    let mut protocol = described(&probe);
    protocol["train_images"] = bench.train_images.len().into();
    protocol["test_images"] = test.len().into();
    Ok((accuracy, protocol))
}

/// The paper's protocol with what was asked for in its place, on so many training images.
fn changed(
    usual: Protocol,
    feature: Option<FeatureKind>,
    args: &SgdArgs,
    images: usize,
) -> anyhow::Result<Protocol> {
    let usual = match args.batch_size {
        Some(n) => Protocol { batch_size: (n as usize).min(images), ..usual },
        None => usual.fitted(images),
    };
    let epochs = args.epochs.map_or(usual.epochs, |epochs| epochs as usize);
    let in_proportion = usual.warmup_epochs * epochs as f64 / usual.epochs as f64;
    let warmup_epochs = args.warmup_epochs.unwrap_or(in_proportion);
    ensure!(
        warmup_epochs < epochs as f64,
        "--warmup-epochs {warmup_epochs}: leaves nothing of the {epochs} epochs of the probe, so \
         shorten it"
    );
    Ok(Protocol {
        optimizer: args.optimizer.map_or(usual.optimizer, ProbeOptimizer::from),
        lr: args.lr.unwrap_or(usual.lr),
        lr_batch: usual.lr_batch.filter(|_| args.lr.is_none()),
        decay: decay(usual.decay, args.schedule),
        warmup_epochs,
        weight_decay: args.weight_decay.unwrap_or(usual.weight_decay),
        epochs,
        feature: feature.unwrap_or(usual.feature),
        normalize: args.normalize.unwrap_or(usual.normalize),
        ..usual
    })
}

fn decay(usual: ProbeDecay, asked: Option<Schedule>) -> ProbeDecay {
    match (asked, usual) {
        (None, usual) => usual,
        (Some(Schedule::Cosine), _) => ProbeDecay::Cosine,
        (Some(Schedule::Drops), ProbeDecay::Drops(percentages)) => ProbeDecay::Drops(percentages),
        (Some(Schedule::Drops), ProbeDecay::Cosine) => ProbeDecay::Drops([60, 80]),
    }
}

fn described(probe: &LinearProbe) -> Value {
    let LinearProbe { view, protocol, seed, .. } = probe;
    json!({
        "probe": "linear",
        "solver": "sgd",
        "feature": protocol.feature.name(),
        "normalize": protocol.normalize,
        "view": view.to_string(),
        "optimizer": name(protocol.optimizer),
        "lr": protocol.peak(protocol.batch_size),
        "schedule": match protocol.decay {
            ProbeDecay::Cosine => "cosine".to_owned(),
            ProbeDecay::Drops([first, second]) => format!("drops at {first} % and {second} %"),
        },
        "warmup_epochs": protocol.warmup_epochs,
        "weight_decay": protocol.weight_decay,
        "epochs": protocol.epochs,
        "batch_size": protocol.batch_size,
        "seed": seed,
    })
}

/// An optimiser's name as in `--optimizer`.
fn name(optimizer: ProbeOptimizer) -> &'static str {
    match optimizer {
        ProbeOptimizer::Sgd => "sgd",
        ProbeOptimizer::Nesterov => "nesterov",
        ProbeOptimizer::Lars => "lars",
        ProbeOptimizer::Larc => "larc",
    }
}

impl From<ProbeRule> for ProbeOptimizer {
    fn from(rule: ProbeRule) -> ProbeOptimizer {
        match rule {
            ProbeRule::Sgd => ProbeOptimizer::Sgd,
            ProbeRule::Nesterov => ProbeOptimizer::Nesterov,
            ProbeRule::Lars => ProbeOptimizer::Lars,
            ProbeRule::Larc => ProbeOptimizer::Larc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, Probe};
    use clap::Parser;
    use moco::config::{self, DataFacts, load_recipe, resolve};

    /// What `flags` make of the protocol of a recipe's method, on 6,400 images.
    fn protocol(recipe: &str, flags: &str) -> anyhow::Result<Protocol> {
        let mut tree = load_recipe(recipe)?;
        config::set(&mut tree, "data.path", "images".into())?;
        let facts = DataFacts { images: 50_000, width: 32, height: 32, labelled: true };
        let line = format!("moco eval linear --run r --train a --test b --solver sgd {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let Command::Eval(eval) = cli.command else { unreachable!("an evaluation") };
        let Probe::Linear(args) = eval.probe else { unreachable!("a linear probe") };
        let usual = Protocol::of(&resolve(&tree, &facts)?.config);
        changed(usual, args.feature.map(FeatureKind::from), &args.sgd, 6_400)
    }

    #[test]
    fn without_flags_a_probe_is_the_papers_in_batches_that_fit_the_images() {
        let mae = protocol("mae-small", "").unwrap();
        assert_eq!((mae.batch_size, mae.epochs, mae.normalize), (100, 90, true));
        assert!((mae.peak(mae.batch_size) - 6.4).abs() < 1e-12, "the rate of the published batch");
        let asked = protocol("mae-small", "--batch-size 512").unwrap();
        assert!((asked.peak(asked.batch_size) - 0.2).abs() < 1e-15, "0.1 for 256 images");
        let simclr = protocol("simclr-small", "--batch-size 9000").unwrap();
        assert_eq!((simclr.optimizer, simclr.batch_size), (ProbeOptimizer::Nesterov, 6400));
        assert_eq!(protocol("moco-v1-small", "").unwrap().batch_size, 256);
    }

    #[test]
    fn every_part_of_a_protocol_can_be_changed() {
        let flags = "--optimizer sgd --lr 0.5 --schedule drops --warmup-epochs 0 --epochs 9 \
                     --weight-decay 0.01 --batch-size 32 --normalize false --feature last-blocks";
        let changed = protocol("mae-small", flags).unwrap();
        assert_eq!(changed.optimizer, ProbeOptimizer::Sgd);
        assert_eq!(changed.peak(changed.batch_size), 0.5, "the rate as it is");
        assert_eq!(changed.decay, ProbeDecay::Drops([60, 80]));
        assert_eq!((changed.warmup_epochs, changed.weight_decay), (0.0, 0.01));
        assert_eq!((changed.epochs, changed.batch_size, changed.normalize), (9, 32, false));
        assert_eq!(changed.feature, FeatureKind::LastBlocks);
        let cpc = protocol("cpc-small", "--schedule drops --normalize").unwrap();
        assert_eq!((cpc.decay, cpc.normalize), (ProbeDecay::Drops([59, 88]), true));
    }

    #[test]
    fn a_warm_up_keeps_its_share_and_leaves_something() {
        assert_eq!(protocol("mae-small", "--epochs 9").unwrap().warmup_epochs, 1.0);
        let error = protocol("mae-small", "--epochs 9 --warmup-epochs 9").unwrap_err();
        assert_eq!(
            error.to_string(),
            "--warmup-epochs 9: leaves nothing of the 9 epochs of the probe, so shorten it"
        );
    }
}
