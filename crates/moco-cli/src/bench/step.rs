//! `moco bench step`: how long a training step takes here.

use crate::args::BenchStepArgs;
use crate::memory::with_peak_memory;
use crate::session::Machine;
use anyhow::anyhow;
use moco::batch::{Batch, pixels_to_tensor};
use moco::config::{self, DataFacts, RunConfig, resolve, set_value};
use moco::device::{Device, cpu_kernel_name};
use moco::methods::{self, Method, Step};
use moco::optim::Optimizer;
use moco::report::duration;
use moco::train::{NotFinite, Rates, learn};
use moco_data::View;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::time::Instant;
use toml::Table;

/// Steps before the timed ones: caches, first touches of memory. Memory is sampled during these,
/// so that sampling does not disturb the timing.
const WARM_UP: usize = 3;
/// Images that the derived settings are derived from: a queue of 4096 keys suits it.
const IMAGES: usize = 50_000;

/// Times whole training steps.
pub fn run(args: &BenchStepArgs) -> anyhow::Result<()> {
    let config = configure(args)?;
    let machine = Machine::open(&args.machine)?;
    let mut run = Run::new(&config, &machine.device)?;
    let (warm_up, peak) =
        with_peak_memory(|| (0..WARM_UP).try_for_each(|_| run.timed_step().map(drop)));
    warm_up?;
    let steps = usize::from(args.steps.max(1));
    let mut seconds = (0..steps).map(|_| run.timed_step()).collect::<anyhow::Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    let (fastest, median, slowest) = (seconds[0], seconds[steps / 2], seconds[steps - 1]);
    let images_per_second = config.train.batch_size as f64 / median;
    if args.json {
        let report = json!({
            "seconds_per_step": median,
            "seconds_fastest": fastest,
            "seconds_slowest": slowest,
            "images_per_second": images_per_second,
            "peak_memory_bytes": peak,
            "steps": steps,
            "method": config.method.name(),
            "backbone": config.model.backbone,
            "width": config.model.resnet().map(|resnet| resnet.width),
            "size": args.size,
            "batch_size": config.train.batch_size,
            "threads": machine.options.threads,
            "device": args.machine.device,
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

fn configure(args: &BenchStepArgs) -> anyhow::Result<RunConfig> {
    let size = usize::from(args.size);
    let mut tree = Table::new();
    for (key, value) in [
        ("data.path", "random images".into()),
        ("method.name", args.method.clone().into()),
        ("model.backbone", args.backbone.clone().into()),
        ("train.batch_size", i64::from(args.batch_size).into()),
    ] {
        config::set(&mut tree, key, value)?;
    }
    if ["moco-v1", "moco-v2"].contains(&args.method.as_str()) {
        config::set(&mut tree, "method.queue", 4096.into())?;
    }
    if !args.backbone.starts_with("vit") {
        config::set(&mut tree, "model.width", 64.into())?;
        config::set(&mut tree, "model.bn_groups", 1.into())?;
    }
    if let Some(stem) = &args.stem {
        config::set(&mut tree, "model.stem", stem.clone().into())?;
    }
    for assignment in &args.set {
        set_value(&mut tree, assignment)?;
    }
    let facts = DataFacts { images: IMAGES, width: size, height: size, labelled: false };
    Ok(resolve(&tree, &facts)?.config)
}

/// A method under training on one random batch.
struct Run {
    method: Box<dyn Method>,
    optimizer: Optimizer,
    batch: Batch,
    rates: Rates,
    parts: usize,
    step: Step,
}

impl Run {
    fn new(config: &RunConfig, device: &Device) -> anyhow::Result<Self> {
        let mut method = methods::build(config, IMAGES, device);
        let optimizer = Optimizer::new(&config.optim, method.student());
        let n = config.train.batch_size;
        let mut rng = ChaCha8Rng::seed_from_u64(config.train.seed);
        let mut random = |view: &View| {
            let ([h, w], rows) = (view.size(), n * view.count());
            let pixels = (0..rows * h * w * 3).map(|_| rng.random_range(-1.0..1.0)).collect();
            pixels_to_tensor(pixels, [rows, h, w], device)
        };
        let views = config.data.parse_views()?.iter().map(&mut random).collect();
        let batch = Batch { indices: (0..n).collect(), views };
        let step = Step { index: 0, total: usize::MAX, per_epoch: usize::MAX, seed: 0, part: 0 };
        let rates = Rates { lr: 1e-3, fixed_lr: 1e-3, weight_decay: config.optim.weight_decay };
        Ok(Self { method, optimizer, batch, rates, parts: config.optim.accumulate, step })
    }

    /// Trains one step and returns its wall time in seconds.
    fn timed_step(&mut self) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let (method, optimizer) = (self.method.as_mut(), &mut self.optimizer);
        let batch = self.batch.clone();
        learn(method, optimizer, batch, self.step, &self.rates, self.parts).map_err(
            |NotFinite(loss)| anyhow!("the loss became {loss}: lower the rate with --set"),
        )?;
        self.step.index += 1;
        Ok(begin.elapsed().as_secs_f64())
    }
}
