//! `moco eval linear`: logistic regression, or the probe of the method's paper.

use super::bench::{Bench, probe_view};
use super::{Measured, print};
use crate::args::{LinearArgs, ProbeRule, Schedule, SgdArgs, Solver};
use crate::console::Stage;
use anyhow::ensure;
use moco::config::FeatureKind;
use moco::eval::{self, LinearProbe, Logistic, ProbeDecay, ProbeOptimizer, Protocol};
use serde_json::{Value, json};

const STAGE: &str = "linear probe: steps";

pub fn run(args: &LinearArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    let feature = args.feature.map(FeatureKind::from);
    let (measured, protocol) = match args.solver {
        Solver::Logistic => logistic(&mut bench, feature.unwrap_or(FeatureKind::Backbone))?,
        Solver::Sgd => sgd(&mut bench, feature, &args.sgd)?,
    };
    bench.warn_of_shared_images();
    print(protocol, &measured, args.labelled.json);
    Ok(())
}

fn logistic(bench: &mut Bench, feature: FeatureKind) -> anyhow::Result<(Measured, Value)> {
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
    Ok((Measured::Once(eval::logistic(&train, &test, settings)), protocol))
}

fn sgd(
    bench: &mut Bench,
    feature: Option<FeatureKind>,
    args: &SgdArgs,
) -> anyhow::Result<(Measured, Value)> {
    let usual = bench.config.probe();
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
    let epochs = eval::linear_sgd(&mut bench.encoder, train, &test, &probe, &mut |done, total| {
        stage.advance(STAGE, done, total);
    })?;
    drop(stage);
    let mut protocol = described(&probe);
    protocol["train_images"] = bench.train_images.len().into();
    protocol["test_images"] = test.len().into();
    Ok((Measured::Epochs(epochs), protocol))
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
    let usual = usual.over(epochs);
    let warmup_epochs = args.warmup_epochs.unwrap_or(usual.warmup_epochs);
    ensure!(
        warmup_epochs < epochs as f64,
        "--warmup-epochs {warmup_epochs}: leaves nothing of the {epochs} epochs of the probe, so \
         shorten it"
    );
    Ok(Protocol {
        optimizer: args.optimizer.map_or(usual.optimizer, ProbeOptimizer::from),
        lr: args.lr.unwrap_or(usual.lr),
        lr_batch: usual.lr_batch.filter(|_| args.lr.is_none()),
        decay: decay(usual.decay, args, epochs as f64)?,
        warmup_epochs,
        weight_decay: args.weight_decay.unwrap_or(usual.weight_decay),
        epochs,
        feature: feature.unwrap_or(usual.feature),
        normalize: args.normalize.unwrap_or(usual.normalize),
        ..usual
    })
}

/// How the rate falls over so many epochs.
fn decay(usual: ProbeDecay, args: &SgdArgs, run: f64) -> anyhow::Result<ProbeDecay> {
    let asks_drops = !args.drops.is_empty() || args.drop_factor.is_some();
    ensure!(
        !(asks_drops && args.schedule == Some(Schedule::Cosine)),
        "--drops and --drop-factor: a cosine has no drops, so leave them out or give --schedule drops"
    );
    let drops = asks_drops || args.schedule == Some(Schedule::Drops);
    let (epochs, factor) = match (args.schedule, usual) {
        (Some(Schedule::Cosine), _) => return Ok(ProbeDecay::Cosine),
        (_, ProbeDecay::Cosine) if !drops => return Ok(ProbeDecay::Cosine),
        (_, ProbeDecay::Cosine) => (vec![0.6 * run, 0.8 * run], 0.1),
        (_, ProbeDecay::Drops { epochs, factor }) => (epochs, factor),
    };
    let epochs = if args.drops.is_empty() { epochs } else { args.drops.clone() };
    let ascend = epochs.is_sorted_by(|a, b| a < b);
    ensure!(
        ascend && epochs.last().is_none_or(|last| *last < run),
        "--drops {}: must be ascending and below the {run} epochs of the probe",
        listed(&epochs)
    );
    Ok(ProbeDecay::Drops { epochs, factor: args.drop_factor.unwrap_or(factor) })
}

fn listed(epochs: &[f64]) -> String {
    epochs.iter().map(f64::to_string).collect::<Vec<_>>().join(",")
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
        "schedule": match &protocol.decay {
            ProbeDecay::Cosine => "cosine".to_owned(),
            ProbeDecay::Drops { epochs, factor } => {
                format!("x {factor} after epochs {}", listed(epochs))
            }
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
    use moco::config::DataFacts;
    use moco::plan::{self, load_recipe, resolve};

    /// What `flags` make of the protocol of a recipe's method, on 6,400 images.
    fn protocol(recipe: &str, flags: &str) -> anyhow::Result<Protocol> {
        let mut tree = load_recipe(recipe)?;
        plan::set(&mut tree, "data.path", "images".into())?;
        let facts = DataFacts { images: 50_000, width: 32, height: 32, labelled: true };
        let line = format!("moco eval linear --run r --train a --test b --solver sgd {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let Command::Eval(eval) = cli.command else { unreachable!("an evaluation") };
        let Probe::Linear(args) = eval.probe else { unreachable!("a linear probe") };
        let usual = resolve(&tree, &facts)?.config.probe();
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
        assert_eq!(changed.decay, ProbeDecay::tenfold(&[0.6 * 9.0, 0.8 * 9.0]));
        assert_eq!((changed.warmup_epochs, changed.weight_decay), (0.0, 0.01));
        assert_eq!((changed.epochs, changed.batch_size, changed.normalize), (9, 32, false));
        assert_eq!(changed.feature, FeatureKind::LastBlocks);
        let cpc = protocol("cpc-small", "--schedule drops --normalize").unwrap();
        assert_eq!((cpc.decay, cpc.normalize), (ProbeDecay::tenfold(&[80.0, 120.0]), true));
    }

    #[test]
    fn drops_may_be_any_list() {
        let cmc = protocol("cmc-small", "").unwrap();
        let drops = |epochs: &[f64], factor| ProbeDecay::Drops { epochs: epochs.to_vec(), factor };
        assert_eq!((cmc.epochs, cmc.decay), (60, drops(&[30.0, 40.0, 50.0], 0.2)));
        let shorter = protocol("cmc-small", "--epochs 6").unwrap();
        assert_eq!(shorter.decay, drops(&[3.0, 4.0, 5.0], 0.2), "in proportion");
        let asked = protocol("mae-small", "--drops 5,7,8 --drop-factor 0.3 --epochs 9").unwrap();
        assert_eq!(asked.decay, drops(&[5.0, 7.0, 8.0], 0.3));
        for (flags, expected) in [
            (
                "--drops 5,90",
                "--drops 5,90: must be ascending and below the 90 epochs of the probe",
            ),
            ("--drops 7,5", "--drops 7,5: must be ascending and below the 90 epochs of the probe"),
            (
                "--drops 5 --schedule cosine",
                "--drops and --drop-factor: a cosine has no drops, so leave them out or give \
                 --schedule drops",
            ),
        ] {
            assert_eq!(protocol("mae-small", flags).unwrap_err().to_string(), expected);
        }
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
