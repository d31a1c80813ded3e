//! `moco check`: the whole plan of a run, and what follows from it. Trains nothing.

use crate::args::RunArgs;
use crate::console::Stage;
use crate::failure::RunFailed;
use crate::memory::{bytes_in_use, with_peak_memory};
use crate::ranks::{self, peers};
use crate::session::{Machine, Session};
use moco::config::LrScaling;
use moco::device;
use moco::plan::Plan;
use moco::report::{duration, percent};
use moco::train::{Start, Trainer, check_ranks};
use moco_data::{BadFile, Dataset, allowed_bad, scan_headers};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

const HEADERS: &str = "headers";
/// Time for a look at the headers of all files.
const SCAN_LIMIT: Duration = Duration::from_secs(60);
/// Steps that are timed, after one that warms up.
const TIMED_STEPS: usize = 4;
/// A first step that takes longer than this, in seconds, is not repeated.
const LONG_STEP: f64 = 10.0;
/// Pixels in a timed batch at most, so that a plan for a large machine can be checked on a small
/// one; time and memory grow in proportion to the batch.
const TIMED_PIXELS: usize = 1 << 20;
/// Share of a GPU's memory that tensors can have; the rest is the driver's, libraries' and lost in gaps.
const USABLE: f64 = 0.9;

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
        row("GPU memory", &gpu_memory(&config, &measured, gpu));
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

/// The memory of a GPU, and the batch that fills it: what tensors took beyond weights and state grows with
/// a part of the batch.
fn gpu_memory(config: &Plan, measured: &Measured, gpu: &GpuMemory) -> String {
    let part = config.train.batch_size / config.optim.accumulate;
    let image = gpu.grown as f64 / (measured.batch_size / measured.parts) as f64;
    let (fixed, total) = (gpu.fixed as f64, gpu.total as f64);
    let needed = fixed + image * part as f64;
    let fits = ((total * USABLE - fixed) / image).max(0.0) as usize;
    let verdict = match part <= fits {
        true => format!("a batch of about {fits} would fit"),
        false if fits == 0 => "not even one image fits: take a smaller network or view".to_owned(),
        false => format!(
            "too much: about {fits} images fit at once, so lower train.batch_size or set \
             optim.accumulate={}",
            config.train.batch_size.div_ceil(fits)
        ),
    };
    format!("about {:.1} of {:.1} GB; {verdict}", needed / 1e9, total / 1e9)
}

/// What steps took of a GPU's memory.
struct GpuMemory {
    /// Bytes of weights and state.
    fixed: u64,
    /// Bytes more, at most during the steps.
    grown: u64,
    /// Bytes of the GPU.
    total: u64,
}

/// What a few steps cost.
struct Measured {
    batch_size: usize,
    /// Parts of the batch.
    parts: usize,
    /// Typical time of a step.
    seconds: f64,
    /// Bytes in use before the first step, and at most during the steps.
    memory: Option<(usize, usize)>,
    gpu: Option<GpuMemory>,
}

fn measure(config: &Plan, dataset: Arc<Dataset>, machine: &Machine) -> anyhow::Result<Measured> {
    let (images, parts) = timed_batch(config)?;
    let config = config.for_timing(images, parts);
    let mut trainer = Trainer::new(&config, dataset, &machine.device, machine.options)?;
    let before = bytes_in_use();
    let fixed = device::used_memory(&machine.device);
    device::reset_peak_memory(&machine.device);
    let (seconds, peak) = with_peak_memory(|| {
        let mut steps = trainer.time_steps(1).map_err(RunFailed::from)?;
        if steps[0].seconds < LONG_STEP {
            // The first step also pays for cold caches and first touches of memory.
            steps = trainer.time_steps(TIMED_STEPS).map_err(RunFailed::from)?;
        }
        let mut seconds: Vec<f64> = steps.iter().map(|step| step.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        anyhow::Ok(seconds[seconds.len() / 2])
    });
    let (batch_size, parts) = (config.train.batch_size, config.optim.accumulate);
    let gpu = || {
        let (fixed, peak) = (fixed?, device::peak_memory(&machine.device)?);
        let total = device::memory(&machine.device)?.total;
        Some(GpuMemory { fixed, grown: peak.saturating_sub(fixed).max(1), total })
    };
    let memory = before.zip(peak);
    Ok(Measured { batch_size, parts, seconds: seconds?, memory, gpu: gpu() })
}

/// A batch to try out and its parts, two at most: each as in the run, halved while it is too large
/// and can be halved.
fn timed_batch(config: &Plan) -> anyhow::Result<(usize, usize)> {
    let views = config.views();
    let pixels = views.iter().map(|view| view.size().iter().product()).max().unwrap_or(1);
    let (mut part, groups) =
        (config.train.batch_size / config.optim.accumulate, config.model.bn_groups());
    while part * pixels > TIMED_PIXELS && part.is_multiple_of(4 * groups) {
        part /= 2;
    }
    let parts = config.optim.accumulate.min(2);
    Ok((part * parts, parts))
}
