//! `moco check`: the whole plan of a run, and what follows from it. Trains nothing.

use crate::args::RunArgs;
use crate::console::Stage;
use crate::measure::{Measured, measure};
use crate::ranks::{self, peers};
use crate::session::Session;
use moco::config::LrScaling;
use moco::plan::Plan;
use moco::report::{duration, percent};
use moco::train::{Start, check_ranks};
use moco_data::{BadFile, Dataset, allowed_bad, scan_headers};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const HEADERS: &str = "headers";
/// Time for a look at the headers of all files.
const SCAN_LIMIT: Duration = Duration::from_secs(60);

/// Prints the resolved configuration, its consequences and estimates.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let session = Session::prepare(args)?;
    check_ranks(&session.config, &session.machine.device, peers().size())?;
    let mut trainer = session.trainer()?;
    let Session { config, notes, dataset, machine, .. } = session;
    if !peers().speaks() {
        // The plan is one rank's to make; the others take part in what is measured among them.
        ranks::plan(&config, trainer.facts().parameters, machine.options.threads);
        return Ok(());
    }
    println!("{}", config.to_toml()?);
    for note in &notes {
        println!("# {note}");
    }
    let facts = trainer.facts();
    let advice = trainer.method().expectation().advice;
    drop(trainer);
    println!();
    row("images", &facts.images.to_string());
    row("headers", &headers(&config, &dataset, machine.options.threads));
    row("steps", &format!("{} per epoch, {} in all", facts.steps_per_epoch, facts.total_steps));
    row("learning rate", &rates(&config, &facts));
    row("parameters", &format!("{:.2} M trained", facts.parameters as f64 / 1e6));
    row("chance loss", &format!("{:.2}", facts.chance_loss));
    for note in ranks::plan(&config, facts.parameters, machine.options.threads) {
        row("ranks", &note);
    }

    if let Some(parts) = parts(&config) {
        row("parts", &parts);
    }

    eprintln!("timing a few steps ...");
    let measured = measure(&config, dataset, &machine)?;
    let scale = facts.batch_size as f64 / measured.batch_size as f64;
    let step = measured.seconds * scale;
    let with = match measured.parts {
        1 => format!("measured with batches of {}", measured.batch_size),
        n => format!("measured with batches of {} in {n} parts", measured.batch_size),
    };
    row("memory", &memory(&config, &measured, &with)?);
    if let Some(gpu) = &measured.gpu {
        row("GPU memory", &gpu.in_words(&config));
    }
    row(
        "time",
        &format!(
            "{} per step, {:.0} images/s, {} in all without kNN; {with}",
            duration(step),
            facts.batch_size as f64 / step,
            duration(step * facts.total_steps as f64)
        ),
    );
    println!("\n{advice}");
    Ok(())
}

fn row(name: &str, value: &str) {
    println!("{name:<15}{value}");
}

/// What a batch in parts means, if it is in parts.
fn parts(config: &Plan) -> Option<String> {
    let (count, batch) = (config.optim.accumulate, config.train.batch_size);
    if count == 1 {
        return None;
    }
    let how = match config.optim.exact_parts() {
        true => {
            "compared as one batch, for which each image passes the network twice: memory of a part, \
             time of a forward pass more"
        }
        false => "each a batch of its own",
    };
    let norm = if config.has_batch_norm() { "; BatchNorm sees a part at a time" } else { "" };
    Some(format!("{count} of {} images, {how}{norm}", batch / count))
}

/// The learning rate where it changes course.
fn rates(config: &Plan, facts: &Start) -> String {
    let (optim, train) = (&config.optim, &config.train);
    let at = |step: usize| match config.rate().at(step, facts.steps_per_epoch) {
        tiny if tiny > 0.0 && tiny < 1e-3 => format!("{tiny:.1e}"),
        rate => format!("{rate:.4}"),
    };
    let warm = (optim.warmup_epochs * facts.steps_per_epoch as f64).ceil() as usize;
    let last = facts.total_steps.saturating_sub(1);
    let mut text = format!("{} at the start", at(0));
    if warm > 0 && warm <= last {
        text += &format!(", {} after {} epochs of warm-up", at(warm), optim.warmup_epochs);
    }
    text += &format!(", {} at the end", at(last));
    let by_root = optim.lr_scaling == LrScaling::SquareRoot;
    if train.batch_size != optim.lr_batch {
        let how = if by_root { ", by the square root" } else { "" };
        text += &format!(" ({} per {} images{how})", optim.lr, optim.lr_batch);
    }
    text
}

/// What a look at the beginning of every file finds.
fn headers(config: &Plan, dataset: &Dataset, threads: usize) -> String {
    let begin = Instant::now();
    let mut stage = Stage::new(HEADERS);
    let scan = scan_headers(dataset, threads, SCAN_LIMIT, &mut |seen, images| {
        stage.advance(HEADERS, seen, images);
        ControlFlow::Continue(())
    });
    drop(stage);
    let took = duration(begin.elapsed().as_secs_f64());
    let mut text = match scan.seen == scan.images {
        true => format!("of all {} images read in {took}", scan.images),
        false => format!("of {} of the {} images read in {took}", scan.seen, scan.images),
    };
    let count = scan.bad.len();
    let Some(BadFile { name, reason, .. }) = scan.bad.first() else { return text + ": all right" };
    let share = percent(count as f64 / scan.seen as f64, 2);
    text += &format!(": {count} cannot be read ({share}), such as {name} ({reason})");
    let allowed = allowed_bad(config.data.max_bad_share, scan.images);
    let verdict = if count > allowed { "; pretrain stops" } else { "; pretrain goes on" };
    text + verdict
        + &format!(", data.max_bad_share = {} allows {allowed}", config.data.max_bad_share)
}

/// The measured memory, grown from the part that was measured to a part of the run, and with the views
/// of a whole batch.
fn memory(config: &Plan, measured: &Measured, with: &str) -> anyhow::Result<String> {
    let Some((before, peak)) = measured.memory else {
        return Ok("this system does not tell".to_owned());
    };
    let views = config.views();
    let image =
        views.iter().map(|view| view.value_count() * size_of::<f32>()).sum::<usize>() as f64;
    let grown = peak.saturating_sub(before) as f64;
    let (batch, part) = (config.train.batch_size as f64, measured.batch_size / measured.parts);
    // Two batches of views: the one that is trained on and the one that is made meanwhile.
    let networks = (grown - 2.0 * image * measured.batch_size as f64).max(0.0);
    let share = batch / config.optim.accumulate as f64 / part as f64;
    let estimate = before as f64 + networks * share + 2.0 * image * batch;
    Ok(format!("about {:.1} GB; {with}", estimate / 1e9))
}
