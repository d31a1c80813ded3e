//! `moco pretrain`: start a run, or go on with one.

use crate::args::{MachineArgs, PretrainArgs};
use crate::console::Console;
use crate::data;
use crate::failure::RunFailed;
use crate::memory::with_peak_memory;
use crate::session::{Machine, Session, load_config};
use crate::stop;
use crate::summary::Gather;
use anyhow::Context;
use moco::config::{RunConfig, parse_run};
use moco::report::{RunFiles, Tee, percent};
use moco::train::{Event, Finished, Observer, RunDir, Trainer};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Starts or resumes, trains, and says what came of it and what to do next.
pub fn run(args: &PretrainArgs) -> anyhow::Result<()> {
    let (dir, mut trainer, notes) = match (&args.resume, &args.out) {
        (Some(dir), _) => resume(dir, args)?,
        (None, Some(dir)) => begin(dir, args)?,
        (None, None) => anyhow::bail!("no folder for the run given: pass --out DIR"),
    };
    let finished = train(&dir, &mut trainer, &notes)?;
    let total = trainer.total_steps();
    print_result(&dir, trainer.config(), &finished, total);
    Ok(())
}

fn begin(dir: &Path, args: &PretrainArgs) -> anyhow::Result<(RunDir, Trainer, Vec<String>)> {
    let Session { config, mut notes, dataset, machine } = Session::prepare(&args.run)?;
    let dir = RunDir::create(dir)?;
    notes.insert(0, frame(&config, &args.run.machine, &machine));
    let trainer = Trainer::new(&config, dataset, &machine.device, machine.options)?;
    write_config(&dir, &config)?;
    Ok((dir, trainer, notes))
}

fn resume(dir: &Path, args: &PretrainArgs) -> anyhow::Result<(RunDir, Trainer, Vec<String>)> {
    let dir = RunDir::at(dir);
    let machine = Machine::open(&args.run.machine)?;
    let open = |config: &RunConfig| {
        let path = args.run.data.as_ref().unwrap_or(&config.data.path);
        data::open(path).map(Arc::new)
    };
    // A run that was killed before its first checkpoint starts over.
    let trainer = if dir.list_checkpoints().is_empty() {
        let config = load_config(&dir)?;
        Trainer::new(&config, open(&config)?, &machine.device, machine.options)?
    } else {
        let (path, meta) = dir.latest()?;
        let config = parse_run(&meta.config).with_context(|| format!("in {}", path.display()))?;
        Trainer::resume(&dir, open(&config)?, &machine.device, machine.options)?
    };
    let notes = vec![frame(trainer.config(), &args.run.machine, &machine)];
    Ok((dir, trainer, notes))
}

/// Trains with all reports, until the end or until Ctrl-C.
pub fn train(dir: &RunDir, trainer: &mut Trainer, notes: &[String]) -> anyhow::Result<Finished> {
    let (first_step, log_steps) = (trainer.facts().first_step, trainer.config().train.log_steps);
    let mut files = RunFiles::open(dir.path(), first_step, log_steps)?;
    let mut console = Console::new();
    let stop = stop::on_interrupt()?;
    let mut gather = Gather::default();
    let (finished, peak) = with_peak_memory(|| {
        let mut observers = Tee(vec![&mut files, &mut console, &mut gather]);
        for note in notes {
            observers.event(&Event::Note(note.clone()));
        }
        trainer.run(dir, &mut observers, stop)
    });
    drop(console);
    for failed in files.failed() {
        eprintln!("warning: {failed}; that file ends early, the run does not");
    }
    let finished = finished.map_err(RunFailed::from)?;
    gather.summary.steps = finished.steps;
    gather.summary.finished = !finished.stopped;
    gather.summary.peak_memory_bytes = peak;
    gather.summary.write(dir)?;
    Ok(finished)
}

/// Writes the resolved configuration, which `--recipe` takes and a resume needs.
pub fn write_config(dir: &RunDir, config: &RunConfig) -> anyhow::Result<()> {
    let text = format!(
        "# The whole configuration of this run, written by moco {}.\n\n{}",
        env!("CARGO_PKG_VERSION"),
        config.to_toml()?
    );
    let path = dir.config();
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What the run is made with, for its log.
fn frame(config: &RunConfig, args: &MachineArgs, machine: &Machine) -> String {
    format!(
        "moco {}, {} on {}, threads: {}, seed {}, images from {}",
        env!("CARGO_PKG_VERSION"),
        config.model.backbone,
        args.device,
        machine.options.threads,
        config.train.seed,
        config.data.path.display()
    )
}

fn print_result(dir: &RunDir, config: &RunConfig, finished: &Finished, total: usize) {
    let folder = dir.path().display();
    if finished.stopped {
        println!("stopped after {} of {total} steps; everything is saved", finished.steps);
        println!("go on:   moco pretrain --resume {folder}");
        return;
    }
    println!("finished {} steps", finished.steps);
    if let Some(knn) = finished.last_knn {
        println!("kNN top-1 {}", percent(knn, 2));
    }
    println!("encoder: {}", dir.encoder().display());
    println!("measure: moco eval knn --run {folder} --train LABELLED --test LABELLED");
    println!(
        "use:     moco embed --run {folder} --data {} --out features.npy",
        config.data.path.display()
    );
}
