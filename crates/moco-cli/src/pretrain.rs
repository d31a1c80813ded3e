//! `moco pretrain`: start a run, or go on with one.

use crate::args::{MachineArgs, PageArgs, PretrainArgs, WatchArgs};
use crate::console::Console;
use crate::data;
use crate::failure::{MemoryFull, RunFailed, within_memory};
use crate::measure::measure;
use crate::memory::with_peak_memory;
use crate::output::check_folder;
use crate::ranks::{self, peers};
use crate::report::{self, Follow};
use crate::session::{Machine, Session, lasting_path, new_trainer};
use crate::stop;
use crate::terminal;
use crate::watch::Watch;
use anyhow::Context;
use moco::files::shell_word;
use moco::plan::{Plan, parse_run};
use moco::report::Gather;
use moco::report::{RunFiles, Tee, bad_file_names, percent};
use moco::run::RunDir;
use moco::train::{Changed, Event, Finished, Observer, Resume, Trainer, check_ranks};
use moco_data::{Dataset, without_secrets};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Starts or resumes, trains, and says what came of it and what to do next.
pub fn run(args: &PretrainArgs) -> anyhow::Result<()> {
    let (run, finished) = trained(args)?;
    let Prepared { dir, trainer, .. } = &run;
    let total = trainer.total_steps();
    let result = result(dir, trainer.config(), &finished, total);
    // Events have stdout to themselves.
    let say = |text: String| match args.watch.events {
        Some(_) => eprintln!("{text}"),
        None => println!("{text}"),
    };
    say(result);
    // A page that followed the run says that it stopped.
    let wanted = !args.page.no_report && (!finished.stopped || args.page.report);
    if wanted && peers().speaks() {
        match run.leave_page() {
            Ok(path) => say(format!("report:  {}", path.display())),
            Err(error) => eprintln!("warning: there is no report: {error:#}"),
        }
    }
    Ok(())
}

/// Starts or resumes, and trains.
pub fn trained(args: &PretrainArgs) -> anyhow::Result<(Prepared, Finished)> {
    let mut run = match (&args.resume, &args.out) {
        (Some(dir), _) => resume(dir, args)?,
        (None, Some(dir)) => begin(dir, args)?,
        (None, None) => anyhow::bail!("no folder for the run given: pass --out DIR"),
    };
    match within_memory(|| run.train(args.page, &args.watch)) {
        Ok(finished) => Ok((run, finished)),
        Err(error) if error.is::<MemoryFull>() => Err(run.too_large(error)),
        Err(error) => Err(error),
    }
}

/// A run that can go on, in its folder.
pub struct Prepared {
    pub dir: RunDir,
    pub trainer: Trainer,
    pub images: Arc<Dataset>,
    pub machine: Machine,
    pub notes: Vec<String>,
}

impl Prepared {
    /// Trains with all reports, until the end or until Ctrl-C.
    pub fn train(&mut self, page: PageArgs, watch: &WatchArgs) -> anyhow::Result<Finished> {
        let (config, images) = (self.trainer.config(), self.images.clone());
        let follow = || Follow::new(self.dir.path(), config, images, &self.machine);
        let mut follow = page.report.then(follow);
        train(&self.dir, &mut self.trainer, &self.machine, &self.notes, watch, follow.as_mut())
    }

    /// What to tell of a run that found the device's memory full: the batch that fits, as far as a few steps of
    /// a small one tell. What is saved stays.
    fn too_large(self, full: anyhow::Error) -> anyhow::Error {
        let Self { trainer, images, machine, .. } = self;
        let config = trainer.config().clone();
        drop(trainer);
        let measured = within_memory(|| measure(&config, images, &machine));
        let Some(gpu) = measured.ok().and_then(|measured| measured.gpu) else {
            return RunFailed::from(full);
        };
        let mend = gpu.mend(config.train.batch_size, config.optim.accumulate);
        RunFailed::from(MemoryFull(format!("the GPU has no memory left: {mend}")))
    }

    /// Writes the page of the finished run and returns where it is. That it cannot be written is no
    /// failure of the run.
    fn leave_page(&self) -> anyhow::Result<PathBuf> {
        let count = report::share_of(self.trainer.config(), self.images.len());
        report::leave(&self.dir, &self.images, &self.machine, None, count)
    }
}

fn begin(dir: &Path, args: &PretrainArgs) -> anyhow::Result<Prepared> {
    let first = peers().speaks();
    if first {
        RunDir::check_new(dir)?;
        check_folder(dir)?;
    }
    let session = Session::prepare(&args.run)?;
    agree(&session.config, &session.dataset, &session.machine)?;
    // One rank owns the folder; the others wait until it has it.
    let dir = if first { claimed(RunDir::create(dir)?) } else { RunDir::at(dir) };
    peers().barrier("the run's folder");
    let trainer = session.trainer()?;
    let Session { config, mut notes, dataset: images, machine, .. } = session;
    notes.insert(0, frame(&config, &args.run.machine, &machine));
    let trainer = joined(trainer, &mut notes, &machine)?;
    if first {
        dir.write_config(&config)?;
    }
    Ok(Prepared { dir, trainer, images, machine, notes })
}

/// Finds that all ranks are about to do the same, and can.
fn agree(config: &Plan, dataset: &Dataset, machine: &Machine) -> anyhow::Result<()> {
    let configuration = format!("{:08x}", crc32c::crc32c(config.to_toml()?.as_bytes()));
    ranks::agree(&[("data set", dataset)], ("configuration", configuration))?;
    Ok(check_ranks(config, &machine.device, peers().size())?)
}

/// The run as this rank's, with what there is to say about the ranks.
fn joined(trainer: Trainer, notes: &mut Vec<String>, machine: &Machine) -> anyhow::Result<Trainer> {
    let mut trainer = trainer.among(peers())?;
    let parameters = trainer.facts().parameters;
    notes.extend(ranks::plan(trainer.config(), parameters, machine.options.threads));
    Ok(trainer)
}

/// Rank 0 alone reads the run's folder, and writes it; the others are told.
fn resume(dir: &Path, args: &PretrainArgs) -> anyhow::Result<Prepared> {
    let first = peers().speaks();
    let dir = if first { claimed(RunDir::resume(dir)?) } else { RunDir::at(dir) };
    let machine = Machine::open(&args.run.machine)?;
    let begun = if first { Some(Begun::read(&dir, args)?) } else { None };
    let open = |config: &Plan| data::open_together(&config.data.path).map(Arc::new);
    let (trainer, images) = match Begun::tell(begun, &dir)? {
        Begun::Fresh(config) => {
            let images = open(&config)?;
            (new_trainer(&config, None, &images, &machine)?, images)
        }
        Begun::Learnt(resume) => {
            let images = open(resume.config())?;
            (resume.trainer(&dir, images.clone(), &machine.device, machine.options)?, images)
        }
    };
    if first {
        dir.write_config(trainer.config())?;
    }
    agree(trainer.config(), trainer.dataset(), &machine)?;
    let mut notes = vec![frame(trainer.config(), &args.run.machine, &machine)];
    let trainer = joined(trainer, &mut notes, &machine)?;
    Ok(Prepared { dir, trainer, images, machine, notes })
}

/// What lies in the folder of a run that is to go on.
enum Begun {
    /// It was killed before its first checkpoint, and starts over.
    Fresh(Box<Plan>),
    Learnt(Box<Resume>),
}

impl Begun {
    fn read(dir: &RunDir, args: &PretrainArgs) -> anyhow::Result<Begun> {
        let changed = changed(dir, args)?;
        if dir.has_checkpoint()? {
            return Ok(Begun::Learnt(Box::new(Resume::open(dir, changed)?)));
        }
        Ok(Begun::Fresh(Box::new(first_config(dir)?.with_changes(&changed.settings)?)))
    }

    /// What rank 0 has read, on all ranks.
    fn tell(own: Option<Begun>, dir: &RunDir) -> anyhow::Result<Begun> {
        if peers().any(matches!(own, Some(Begun::Learnt(_))), "what the run has learnt") {
            let own = match own {
                Some(Begun::Learnt(resume)) => Some(*resume),
                _ => None,
            };
            return Ok(Begun::Learnt(Box::new(Resume::tell(own, dir, peers())?)));
        }
        let text = match &own {
            Some(Begun::Fresh(config)) => config.to_toml()?,
            _ => String::new(),
        };
        let told = peers().tell(text.into_bytes(), "settings of the run");
        match own {
            Some(own) => Ok(own),
            None => Ok(Begun::Fresh(Box::new(parse_run(&String::from_utf8(told)?)?))),
        }
    }
}

/// A folder that this process writes, and on which file system it must take care by itself.
fn claimed(dir: RunDir) -> RunDir {
    if let Some(note) = dir.lock_note() {
        eprintln!("{note}");
    }
    dir
}

/// The configuration of a run without a checkpoint.
fn first_config(dir: &RunDir) -> anyhow::Result<Plan> {
    let config = dir.read_config();
    if let Err(error) = &config
        && dir.config().exists()
    {
        anyhow::bail!(
            "{0} holds no run to go on with, no checkpoint and no whole configuration ({error:#}): \
             start again with --out {1}, which takes the folder over",
            dir.path().display(),
            shell_word(dir.path())
        );
    }
    Ok(config?)
}

/// What the command line asks to be otherwise than when the run began.
fn changed(dir: &RunDir, args: &PretrainArgs) -> anyhow::Result<Changed> {
    let mut settings = Vec::new();
    if let Some(path) = &args.run.data {
        settings.push(format!("data.path={}", lasting_path(path)?));
    }
    for assignment in &args.run.set {
        settings.push(match assignment.split_once('=') {
            Some((key, path)) if ["data.path", "monitor.knn_test"].contains(&key.trim()) => {
                format!("{key}={}", lasting_path(Path::new(path.trim()))?)
            }
            _ => assignment.clone(),
        });
    }
    let path = dir.bad_files();
    let known_bad =
        bad_file_names(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Changed { settings, accept_new_data: args.accept_new_data, known_bad })
}

/// Trains with all reports, until the end or until Ctrl-C.
fn train(
    dir: &RunDir,
    trainer: &mut Trainer,
    machine: &Machine,
    notes: &[String],
    watch: &WatchArgs,
    follow: Option<&mut Follow>,
) -> anyhow::Result<Finished> {
    if !peers().speaks() {
        return train_along(dir, trainer);
    }
    let (first_step, log_steps) = (trainer.facts().first_step, trainer.config().train.log_steps);
    let mut files = RunFiles::open(dir.path(), first_step, log_steps).map_err(RunFailed::from)?;
    let stop = stop::on_interrupt()?;
    stop::on_file(dir.path().join("stop"));
    let mut watch = Watch::begin(watch, dir, trainer.config(), first_step, stop)?;
    let mut gather = Gather::of(dir, first_step);
    gather.summary.machine = Some(machine.in_words());
    let (finished, peak) = with_peak_memory(|| {
        let mut observers = Tee(vec![&mut files, &mut watch, &mut gather]);
        observers.0.extend(follow.map(|follow| follow as &mut dyn Observer));
        for note in notes {
            observers.event(&Event::Note(note.clone()));
        }
        trainer.run(dir, &mut observers, stop).map_err(RunFailed::from)
    });
    watch.end(finished.as_ref());
    for failed in files.failed() {
        eprintln!("warning: {failed}; that file ends early, the run does not");
    }
    let finished = finished?;
    gather.summary.steps = finished.steps;
    gather.summary.finished = !finished.stopped;
    gather.summary.peak_memory_bytes = peak;
    gather.summary.write(dir).map_err(RunFailed::from)?;
    Ok(finished)
}

/// Trains as one of the ranks that write nothing.
fn train_along(dir: &RunDir, trainer: &mut Trainer) -> anyhow::Result<Finished> {
    let stop = stop::on_interrupt()?;
    let mut console = (!terminal::is_quiet()).then(Console::new);
    let mut observers = Tee(Vec::new());
    observers.0.extend(console.as_mut().map(|console| console as &mut dyn Observer));
    trainer.run(dir, &mut observers, stop).map_err(RunFailed::from)
}

/// What the run is made with, for its log.
fn frame(config: &Plan, args: &MachineArgs, machine: &Machine) -> String {
    format!(
        "moco {}, {} on {}, threads: {}, seed {}, images from {}",
        env!("CARGO_PKG_VERSION"),
        config.model.backbone,
        args.device,
        machine.options.threads,
        config.train.seed,
        without_secrets(&config.data.path).display()
    )
}

/// What came of a run, and what to do next.
fn result(dir: &RunDir, config: &Plan, finished: &Finished, total: usize) -> String {
    let folder = shell_word(dir.path());
    if finished.stopped {
        return format!(
            "stopped after {} of {total} steps; everything is saved\n\
             go on:   moco pretrain --resume {folder}",
            finished.steps
        );
    }
    let mut lines = vec![format!("finished {} steps", finished.steps)];
    lines.extend(finished.last_knn.map(|knn| format!("kNN top-1 {}", percent(knn, 2))));
    lines.push(format!("encoder: {}", dir.encoder().display()));
    lines.push(format!("measure: moco eval knn --run {folder} --train LABELLED --test LABELLED"));
    lines.push(format!(
        "use:     moco embed --run {folder} --data {} --out features.npy",
        shell_word(&config.data.path)
    ));
    lines.join("\n")
}
