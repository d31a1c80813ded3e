//! `moco eval finetune`: the whole network, with labels.

use super::bench::{Bench, probe_view};
use super::print;
use crate::args::{FinetuneArgs, Pool};
use crate::console::Stage;
use crate::failure::RunFailed;
use anyhow::ensure;
use moco::eval::{self, FineTune, Mixing, Readout, Refit};
use moco::methods;
use moco::models::Encode;
use moco_data::View;
use serde_json::{Value, json};
use std::sync::Arc;

const STAGE: &str = "fine-tuning: steps";

pub fn run(args: &FinetuneArgs) -> anyhow::Result<()> {
    let mut bench = Bench::open(&args.labelled)?;
    ensure!(
        bench.classes.iter().enumerate().all(|(i, class)| i == *class as usize),
        "the test images lack some classes of the training images: fine-tuning needs the same ones"
    );
    let train = match args.labels {
        share if share < 1.0 => Arc::new(bench.train_images.label_share(share, args.seed)),
        _ => bench.train_images.clone(),
    };
    let mut network = methods::encoder(&bench.config, &bench.machine.device.clone().autodiff());
    let refit = refit(&bench, args, network.as_mut())?;
    let config = settings(&bench, args, refit, train.len())?;
    let mut protocol = described(&config);
    protocol["labels"] = args.labels.into();
    protocol["train_images"] = train.len().into();
    protocol["test_images"] = bench.test_images.len().into();
    let mut stage = Stage::new(STAGE);
    let accuracy = eval::fine_tune(
        &mut bench.encoder,
        network,
        train,
        &bench.test_images,
        &config,
        &mut |done, total| stage.advance(STAGE, done, total),
    )
    .map_err(RunFailed::from)?;
    drop(stage);
    bench.warn_of_shared_images();
    print(protocol, accuracy, args.labelled.json);
    Ok(())
}

/// What is changed about the network: as in the method's paper, or as was asked for.
fn refit(bench: &Bench, args: &FinetuneArgs, network: &mut dyn Encode) -> anyhow::Result<Refit> {
    let usual = Refit::of(&bench.config.method);
    let refit = Refit {
        readout: args.pool.map_or(usual.readout, Readout::from),
        drop_path: args.drop_path.unwrap_or(usual.drop_path),
    };
    let (backbone, method) = (&bench.config.model.backbone, bench.config.method.name());
    let transformer = network.vit().is_some();
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

fn settings(
    bench: &Bench,
    args: &FinetuneArgs,
    refit: Refit,
    images: usize,
) -> anyhow::Result<FineTune> {
    let view = match &args.view {
        Some(view) => fitting(view, &bench.encoder.view)?,
        None => probe_view(&bench.encoder)?,
    };
    let batch = (args.batch_size as usize).min(images);
    let threads = bench.machine.options.threads;
    let usual = FineTune::new(refit, view, args.epochs as usize, batch, args.seed, threads);
    Ok(FineTune {
        lr: args.lr.unwrap_or(usual.lr),
        layer_decay: args.layer_decay,
        mixing: Mixing { mixup: args.mixup, cutmix: args.cutmix },
        ..usual
    })
}

/// A view that was asked for, if it makes the images that the network is tested on.
fn fitting(asked: &View, tested: &View) -> anyhow::Result<View> {
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
        "pool": name(config.refit.readout),
        "drop_path": config.refit.drop_path,
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
    })
}

/// A readout's name as in `--pool`.
fn name(readout: Readout) -> &'static str {
    match readout {
        Readout::Own => "own",
        Readout::PatchMean => "mean",
        Readout::Projector => "projector",
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
