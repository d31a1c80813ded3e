//! `moco bench step`: how long a step takes here.

use super::work::{self, IMAGES, Work};
use crate::args::BenchStepArgs;
use crate::memory::{bytes_in_use, with_peak_memory};
use crate::session::Machine;
use clap::ValueEnum;
use moco::config::DataFacts;
use moco::device::{self, Arithmetic, Device, cpu_kernel_name};
use moco::plan::{self, Plan, resolve, set_value};
use moco::report::duration;
use serde_json::json;
use std::time::Instant;
use toml::Table;

/// Steps before the timed ones: caches, first touches of memory. Memory within a step is sampled
/// during these alone, so that sampling does not disturb the timing.
const WARM_UP: usize = 3;

/// Times steps.
pub fn run(args: &BenchStepArgs) -> anyhow::Result<()> {
    let config = configure(args)?;
    let machine = Machine::open(&args.machine)?;
    let precision = config.train.precision.unwrap_or_default();
    let arithmetic = Arithmetic::on(&machine.device, precision)?;
    let mut work = work::prepare(args.work, &config, &machine.device)?;
    let warm_up = || (0..WARM_UP).try_for_each(|_| finished(&mut *work, &machine.device));
    let (warm_up, peak) = with_peak_memory(|| arithmetic.during(warm_up));
    warm_up?;
    let steps = usize::from(args.steps.max(1));
    let (mut seconds, memory) = arithmetic.during(|| timed(&mut *work, &machine.device, steps))?;
    seconds.sort_by(f64::total_cmp);
    let (memory_early, memory_end) = (least(&memory, 1), least(&memory, 9));
    let peak = peak.max(memory.iter().copied().flatten().max());
    let (fastest, median, slowest) = (seconds[0], seconds[steps / 2], seconds[steps - 1]);
    let images_per_second = config.train.batch_size as f64 / median;
    if args.json {
        let report = json!({
            "seconds_per_step": median,
            "seconds_fastest": fastest,
            "seconds_slowest": slowest,
            "images_per_second": images_per_second,
            "peak_memory_bytes": peak,
            "memory_early_bytes": memory_early,
            "memory_end_bytes": memory_end,
            "steps": steps,
            "work": args.work.to_possible_value().map(|kind| kind.get_name().to_owned()),
            "method": config.method.name(),
            "backbone": config.model.backbone,
            "width": config.model.resnet().map(|resnet| resnet.width),
            "size": args.size,
            "batch_size": config.train.batch_size,
            "threads": machine.options.threads,
            "device": args.machine.device,
            "precision": arithmetic.name(),
            "device_peak_bytes": device::peak_memory(&machine.device),
            "kernels": cpu_kernel_name()?,
        });
        println!("{report}");
        return Ok(());
    }
    println!(
        "{} per step (fastest {}, slowest {}), {images_per_second:.0} images/s",
        duration(median),
        duration(fastest),
        duration(slowest)
    );
    if let Some(peak) = peak {
        println!("peak memory {:.2} GB", peak as f64 / 1e9);
    }
    Ok(())
}

/// Works once and waits for it: a GPU is only asked for what is to be done.
fn finished(work: &mut dyn Work, device: &Device) -> anyhow::Result<()> {
    work.once()?;
    Ok(device.sync()?)
}

/// The wall time of each step in seconds, and the memory in use after it.
fn timed(
    work: &mut dyn Work,
    device: &Device,
    steps: usize,
) -> anyhow::Result<(Vec<f64>, Vec<Option<usize>>)> {
    let timed = (0..steps).map(|_| {
        let begin = Instant::now();
        finished(work, device)?;
        Ok((begin.elapsed().as_secs_f64(), bytes_in_use()))
    });
    timed.collect::<anyhow::Result<Vec<_>>>().map(|timed| timed.into_iter().unzip())
}

/// The least memory in use after the steps of a tenth of all, counted from 0: what an allocator
/// keeps for a while comes and goes by megabytes from step to step, what leaks only grows.
fn least(memory: &[Option<usize>], tenth: usize) -> Option<usize> {
    let begin = memory.len() * tenth / 10;
    let end = (memory.len() * (tenth + 1) / 10).max(begin + 1);
    memory[begin..end].iter().copied().flatten().min()
}

pub fn configure(args: &BenchStepArgs) -> anyhow::Result<Plan> {
    let size = usize::from(args.size);
    let mut tree = Table::new();
    for (key, value) in [
        ("data.path", "random images".into()),
        ("method.name", args.method.clone().into()),
        ("model.backbone", args.backbone.clone().into()),
        ("train.batch_size", i64::from(args.batch_size).into()),
    ] {
        plan::set(&mut tree, key, value)?;
    }
    if ["moco-v1", "moco-v2"].contains(&args.method.as_str()) {
        plan::set(&mut tree, "method.queue", 4096.into())?;
    }
    if !args.backbone.starts_with("vit") {
        plan::set(&mut tree, "model.width", 64.into())?;
        plan::set(&mut tree, "model.bn_groups", 1.into())?;
    }
    if let Some(precision) = &args.precision {
        plan::set(&mut tree, "train.precision", precision.clone().into())?;
    }
    if let Some(stem) = &args.stem {
        plan::set(&mut tree, "model.stem", stem.clone().into())?;
    }
    for assignment in &args.set {
        set_value(&mut tree, assignment)?;
    }
    let facts = DataFacts { images: IMAGES, width: size, height: size, labelled: false };
    Ok(resolve(&tree, &facts)?.config)
}
