//! `moco demo`: the whole way on a small generated data set.

use crate::args::{DemoArgs, WatchArgs};
use crate::pretrain::Prepared;
use crate::report;
use crate::score::{Accuracies, backbone_features};
use crate::session::{Machine, load_encoder, untrained};
use anyhow::Context;
use moco::config::{DataFacts, Recipe};
use moco::eval::{Features, FrozenEncoder, pixel_features};
use moco::plan::{self, Plan, resolve};
use moco::report::{duration, percent};
use moco::run::RunDir;
use moco::train::Trainer;
use moco_data::{Dataset, synthetic};
use moco_peers::Peers;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

const TRAIN_IMAGES: usize = 2000;
const TEST_IMAGES: usize = 500;
const IMAGE_SIZE: usize = 32;

/// Draws images, pretrains without their labels, and measures what was learnt with them.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let begin = Instant::now();
    let place = Place::open(args.out.as_deref())?;
    let machine = Machine::open(&args.machine)?;
    let (train_path, test_path) = (place.path.join("train"), place.path.join("test"));
    draw(&train_path, TRAIN_IMAGES, 0)?;
    draw(&test_path, TEST_IMAGES, 1)?;
    eprintln!(
        "drew {TRAIN_IMAGES} images to train on and {TEST_IMAGES} to test on in {}",
        place.path.display()
    );

    let images = Arc::new(Dataset::open(&train_path)?);
    let config = configure(&train_path, &images)?;
    let run = RunDir::create(&place.path.join("run"))?;
    run.write_config(&config)?;
    let trainer = Trainer::new(&config, images.clone(), &machine.device, machine.options)?;
    let mut run = Prepared { dir: run, trainer, images, machine, notes: Vec::new() };
    let finished = run.train(args.page, &WatchArgs::default())?;
    if finished.stopped {
        println!("stopped before there was anything to measure");
        return Ok(());
    }

    let report = (!args.page.no_report).then(|| keep_page(&run, &place)).transpose()?;
    let Prepared { dir, machine, images, .. } = run;
    let mut bench = Bench { config, machine, train: images, test: Dataset::open(&test_path)? };
    let trained = load_encoder(dir.path(), &bench.machine.device)?.0;
    bench.print_table(trained)?;
    println!("\ntook {}", duration(begin.elapsed().as_secs_f64()));
    if let Some(report) = report {
        println!("look:  {} in a browser, for what it has learnt", report.display());
    }
    println!("next:  moco pretrain --data YOUR_IMAGES --out runs/first");
    if place.temporary.is_none() {
        println!("run:   {}", dir.path().display());
    }
    Ok(())
}

/// Writes the page on the run. That of a temporary folder is put beside it, where it stays.
fn keep_page(run: &Prepared, place: &Place) -> anyhow::Result<PathBuf> {
    let page = report::leave(&run.dir, &run.images, &run.machine, None, report::MOST)?;
    if place.temporary.is_none() {
        return Ok(page);
    }
    let kept = tempfile::Builder::new().prefix("moco-demo-").suffix(".html").tempfile()?;
    fs::copy(&page, kept.path())?;
    Ok(kept.keep()?.1)
}

/// Where the demo works; a temporary folder is gone at the end.
struct Place {
    path: PathBuf,
    temporary: Option<TempDir>,
    /// Locked while it lives.
    _folder: Option<RunDir>,
}

impl Place {
    fn open(out: Option<&Path>) -> anyhow::Result<Place> {
        if let Some(out) = out {
            let folder = RunDir::create(out)?;
            let path = folder.path().to_owned();
            return Ok(Place { path, temporary: None, _folder: Some(folder) });
        }
        let temporary = tempfile::Builder::new()
            .prefix("moco-demo-")
            .tempdir()
            .context("cannot make a temporary folder: pass --out DIR")?;
        let path = temporary.path().to_owned();
        Ok(Place { path, temporary: Some(temporary), _folder: None })
    }
}

fn draw(folder: &Path, count: usize, seed: u64) -> anyhow::Result<()> {
    let images = synthetic::shapes(count, IMAGE_SIZE, seed);
    synthetic::write_folder(&images, folder)
        .with_context(|| format!("cannot write images to {}", folder.display()))
}

fn configure(path: &Path, images: &Dataset) -> anyhow::Result<Plan> {
    let mut tree = Recipe::named("demo")?.tree()?;
    plan::set(&mut tree, "data.path", path.display().to_string().into())?;
    Ok(resolve(&tree, &DataFacts::of(images)?)?.config)
}

/// The labelled images, and how features of them are scored.
struct Bench {
    config: Plan,
    machine: Machine,
    train: Arc<Dataset>,
    test: Dataset,
}

impl Bench {
    fn print_table(&mut self, trained: FrozenEncoder) -> anyhow::Result<()> {
        let view = trained.view.clone();
        let untrained = untrained(&self.config, &self.machine.device);
        let threads = self.machine.options.threads;
        println!("\n{:<24}{:>10}{:>16}", "features", "kNN", "linear probe");
        self.print_row("trained encoder", &self.features(trained)?);
        self.print_row("untrained encoder", &self.features(untrained)?);
        let pixels = |set: &Dataset| pixel_features(set, &view, threads, Peers::SOLO);
        self.print_row("raw pixels", &[pixels(&self.train)?, pixels(&self.test)?]);
        let classes = self.train.class_names().len();
        println!("{:<24}{:>10}{:>16}", "guessing", percent(1.0 / classes as f64, 1), "");
        Ok(())
    }

    fn features(&self, mut encoder: FrozenEncoder) -> anyhow::Result<[Features; 2]> {
        let threads = self.machine.options.threads;
        let (train, test) =
            backbone_features(&mut encoder, &self.train, Some(&self.test), threads)?;
        Ok([train, test.unwrap_or_default()])
    }

    fn print_row(&self, name: &str, [train, test]: &[Features; 2]) {
        let monitor = &self.config.monitor;
        let Accuracies { knn, linear } =
            Accuracies::of(train, test, monitor.knn_k, monitor.knn_temperature);
        println!("{name:<24}{:>10}{:>16}", percent(knn, 1), percent(linear, 1));
    }
}
