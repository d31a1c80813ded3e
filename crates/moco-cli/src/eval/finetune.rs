//! `moco eval finetune`: the whole network, with labels.

use super::bench::{Bench, agree, check_groups, probe_view};
use super::{Measured, print};
use crate::args::{FinetuneArgs, Pool, Preset, TuneRule};
use crate::console::Stage;
use crate::failure::RunFailed;
use crate::output::Output;
use crate::ranks::peers;
use anyhow::{Context, ensure};
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::eval::{self, FineTune, HeadStart, Mixing, Published, Readout, Refit};
use moco::models::Encode;
use moco::pretrained;
use moco::run::{ClassifierCard, save_classifier};
use moco_data::{Dataset, View};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const STAGE: &str = "fine-tuning: steps";

pub fn run(args: &FinetuneArgs) -> anyhow::Result<()> {
    // One rank writes.
    let out = args.out.as_deref().filter(|_| peers().speaks()).map(Output::at).transpose()?;
    let mut bench = Bench::open(&args.labelled)?;
    ensure!(
        bench.classes.iter().enumerate().all(|(i, class)| i == *class as usize),
        "the test images lack some classes of the training images: fine-tuning needs the same ones"
    );
    let train = match (&args.labels_list, args.labels) {
        (Some(list), _) => Arc::new(listed(&bench.train_images, list)?),
        (None, share) if share < 1.0 => Arc::new(bench.train_images.label_share(share, args.seed)),
        _ => bench.train_images.clone(),
    };
    let device = bench.machine.device.clone().autodiff();
    let mut network = match &bench.imported {
        Some(imported) => pretrained::network(&imported.network, &device),
        None => bench.config.encoder(&device),
    };
    let refit = refit(&bench, args, network.as_mut())?;
    let config = settings(&bench, args, refit, train.len())?;
    check_groups(&bench.config, bench.imported.as_ref(), config.batch_size)?;
    let mut protocol = described(&config);
    let images: [(&str, &Dataset); 2] =
        [("training set", &train), ("test set", &bench.test_images)];
    agree(&images, &mut [bench.encoder.encoder.as_mut()], &protocol, &bench.machine.device)?;
    match &args.labels_list {
        Some(list) => protocol["labels_list"] = list.display().to_string().into(),
        None => protocol["labels"] = args.labels.into(),
    }
    protocol["train_images"] = train.len().into();
    protocol["test_images"] = bench.test_images.len().into();
    let mut stage = Stage::new(STAGE);
    let mut tuned = eval::fine_tune(
        &mut bench.encoder,
        network,
        train,
        &bench.test_images,
        &config,
        &mut |done, total| stage.advance(STAGE, done, total),
    )
    .map_err(RunFailed::from)?;
    drop(stage);
    if let Some(out) = &out {
        save_classifier(&mut tuned.net, &card(&bench, refit.readout), out.target())?;
    }
    bench.warn_of_shared_images();
    print(protocol, &Measured::Epochs(tuned.epochs), args.labelled.json);
    Ok(())
}

/// What the tuned network's file says of itself.
fn card(bench: &Bench, readout: Readout) -> ClassifierCard {
    ClassifierCard {
        config: bench.config.clone(),
        imported: bench.imported.clone(),
        readout,
        classes: bench.train_images.class_names().to_vec(),
        view: bench.encoder.view.clone(),
    }
}

/// The images that a list names.
fn listed(images: &Arc<Dataset>, list: &Path) -> anyhow::Result<Dataset> {
    let text = fs::read_to_string(list)
        .with_context(|| format!("cannot read --labels-list {}", list.display()))?;
    let names: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    ensure!(!names.is_empty(), "--labels-list {}: names no image", list.display());
    let (part, missing) = images.named(&names);
    if let Some(first) = missing.first() {
        anyhow::bail!(
            "--labels-list {}: {} of its {} names are no training image, such as `{first}`: give the \
             images that the list is of",
            list.display(),
            missing.len(),
            names.len()
        );
    }
    Ok(part)
}

/// What is changed about the network: as in the method's paper, or as was asked for.
fn refit(bench: &Bench, args: &FinetuneArgs, network: &mut dyn Encode) -> anyhow::Result<Refit> {
    let usual = bench.config.refit();
    let transformer = network.vit().is_some();
    let preset = args.preset.filter(|_| transformer).map(Published::from);
    let of_preset = preset.map(|published| published.drop_path(width(bench)));
    let refit = Refit {
        readout: args.pool.map_or(usual.readout, Readout::from),
        drop_path: args.drop_path.or(of_preset).unwrap_or(usual.drop_path),
    };
    let (backbone, method) = (&bench.config.model.backbone, bench.config.method.name());
    ensure!(
        refit.readout != Readout::PatchMean || transformer,
        "--pool mean: {backbone} has no patch tokens, which are a transformer's, so leave it out"
    );
    ensure!(
        refit.readout != Readout::Projector || network.projector().is_some(),
        "--pool projector: {method} has no projection head of plain layers, so leave it out"
    );
    ensure!(
        refit.drop_path == 0.0 || transformer,
        "--drop-path {}: {backbone} drops no branches, as transformers do, so leave it out",
        refit.drop_path
    );
    Ok(refit)
}

/// Width of the transformer; that of ViT-B for other networks.
fn width(bench: &Bench) -> usize {
    bench.config.network().vit().map_or(768, |vit| vit.width)
}

/// The preset's settings, or the usual ones, on so many images.
fn usual(bench: &Bench, args: &FinetuneArgs, images: usize) -> anyhow::Result<FineTune> {
    let published = args.preset.map(Published::from);
    let strong = published.is_some_and(Published::augments_strongly);
    let view = match &args.view {
        Some(view) => fitting(view, &bench.encoder.view)?,
        None if strong => strong_view(bench)?,
        None => probe_view(&bench.encoder)?,
    };
    let batch = args.batch_size.map(|n| n as usize);
    Ok(match published {
        Some(published) => {
            let at_most = batch.unwrap_or(usize::MAX).min(images);
            published.settings(view, at_most, width(bench))
        }
        None => {
            let batch = batch.unwrap_or(256).min(images);
            let refit = Refit { readout: Readout::Own, drop_path: 0.0 };
            FineTune::new(refit, view, 50, batch, args.seed, 1)
        }
    })
}

fn settings(
    bench: &Bench,
    args: &FinetuneArgs,
    refit: Refit,
    images: usize,
) -> anyhow::Result<FineTune> {
    let usual = usual(bench, args, images)?;
    let epochs = args.epochs.map_or(usual.epochs, |epochs| epochs as usize);
    let in_proportion = usual.warmup_epochs * epochs as f64 / usual.epochs as f64;
    let warmup_epochs = args.warmup_epochs.unwrap_or(in_proportion);
    ensure!(
        warmup_epochs < epochs as f64,
        "--warmup-epochs {warmup_epochs}: leaves nothing of the {epochs} epochs, so shorten it"
    );
    let (rule, scope) = match args.optimizer {
        Some(rule) => rule.into(),
        None => (usual.rule, usual.scope),
    };
    let tested = bench.test_images.len().div_ceil(images);
    Ok(FineTune {
        refit,
        rule,
        scope,
        epochs,
        warmup_epochs,
        lr: args.lr.unwrap_or(usual.lr),
        layer_decay: args.layer_decay.unwrap_or(usual.layer_decay),
        weight_decay: args.weight_decay.unwrap_or(usual.weight_decay),
        smoothing: args.smoothing.unwrap_or(usual.smoothing),
        mixing: Mixing {
            mixup: args.mixup.unwrap_or(usual.mixing.mixup),
            cutmix: args.cutmix.unwrap_or(usual.mixing.cutmix),
        },
        seed: args.seed,
        threads: bench.machine.options.threads,
        test_epochs: args.test_epochs.map_or(tested, |epochs| epochs as usize),
        ..usual
    })
}

/// The probe's view with RandAugment and random erasing, as MAE and DeiT augment.
fn strong_view(bench: &Bench) -> anyhow::Result<View> {
    let usual = probe_view(&bench.encoder)?.to_string();
    let strong = usual.replacen(" flip ", " flip randaugment(9, 0.5) ", 1) + " erase(p=0.25)";
    strong
        .parse()
        .context("cannot derive the preset's augmentation from data.eval_view: give --view")
}

/// A view that was asked for, if it makes the images that the network is tested on.
pub fn fitting(asked: &View, tested: &View) -> anyhow::Result<View> {
    let rows = |view: &View| (view.size(), view.count());
    ensure!(
        asked.range() == tested.range(),
        "--view `{asked}`: reads the values of files otherwise than the run's data.eval_view \
         `{tested}`, so begin it with the same range, or none"
    );
    ensure!(
        rows(asked) == rows(tested),
        "--view `{asked}`: makes images of another size or number than the run's data.eval_view \
         `{tested}`, so cut them alike"
    );
    Ok(asked.clone())
}

fn described(config: &FineTune) -> Value {
    json!({
        "probe": "finetune",
        "pool": config.refit.readout.name(),
        "drop_path": config.refit.drop_path,
        "view": config.view.to_string(),
        "epochs": config.epochs,
        "warmup_epochs": config.warmup_epochs,
        "optimizer": optimizer(&config.rule),
        "lr": config.lr,
        "lr_end": config.lr_end,
        "head": match config.head {
            HeadStart::Normal(std) => format!("normal {std}"),
            HeadStart::FanIn => "fan-in".to_owned(),
        },
        "layer_decay": config.layer_decay,
        "weight_decay": config.weight_decay,
        "smoothing": config.smoothing,
        "mixup": config.mixing.mixup,
        "cutmix": config.mixing.cutmix,
        "batch_size": config.batch_size,
        "seed": config.seed,
    })
}

/// An optimiser's name as in `--optimizer`.
pub fn optimizer(rule: &RuleConfig) -> &'static str {
    match rule {
        RuleConfig::Sgd { .. } => "sgd",
        RuleConfig::Nesterov { .. } => "nesterov",
        RuleConfig::Lars { .. } => "lars",
        RuleConfig::Adam { .. } | RuleConfig::AdamW { .. } => "adamw",
    }
}

impl From<TuneRule> for (RuleConfig, DecayScope) {
    fn from(rule: TuneRule) -> Self {
        let momentum = 0.9;
        match rule {
            TuneRule::Adamw => (
                RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
                DecayScope::Matrices,
            ),
            TuneRule::Sgd => (RuleConfig::Sgd { momentum }, DecayScope::All),
            TuneRule::Nesterov => (RuleConfig::Nesterov { momentum }, DecayScope::All),
            TuneRule::Lars => (
                RuleConfig::Lars { momentum, trust: 0.001, flavor: LarsFlavor::Inside },
                DecayScope::Matrices,
            ),
        }
    }
}

impl From<Preset> for Published {
    fn from(preset: Preset) -> Published {
        match preset {
            Preset::Mae => Published::Mae,
            Preset::Simclr => Published::SimClr,
            Preset::Byol => Published::Byol,
            Preset::Deit => Published::Deit,
        }
    }
}

impl From<Pool> for Readout {
    fn from(pool: Pool) -> Readout {
        match pool {
            Pool::Own => Readout::Own,
            Pool::Mean => Readout::PatchMean,
            Pool::Projector => Readout::Projector,
        }
    }
}
