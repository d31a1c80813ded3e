//! The loop: batches in, steps, monitors, checkpoints out.
//!
//! The only module that brings data, methods, optimisers, checkpoints and evaluation together.
//! Nothing in the library imports it.

#[cfg(test)]
mod any_plan;
mod bank;
mod collapse;
mod error;
mod exact;
mod late;
mod monitor;
mod outputs;
mod ranks;
mod resume;
mod room;
mod scale;
mod step;
mod watched;

pub use crate::events::{EpochReport, Event, Observer, Start, StepReport};
pub use bank::{Bank, has_bank, open_bank};
pub use error::TrainError;
pub use ranks::{
    agree as agree_among_ranks, check as check_ranks, check_device as check_ranks_device, checksum,
};
pub use resume::{Changed, Resume};
pub use step::{Learnt, NotFinite, Parts, Rates, learn, learn_among};

use crate::device::{self, Arithmetic};
use crate::eval::{EvalError, FrozenEncoder};
use crate::methods::{Expectation, Method, Step};
use crate::nn::{count_params, share};
use crate::optim::Optimizer;
use crate::plan::Plan;
use crate::run::RunDir;
use crate::schedule;
use burn::tensor::Device;
use collapse::CollapseWatch;
use late::{Asked, Fetched, Late, Reported};
use moco_data::{DataError, Dataset, Loader, LoaderConfig, Share};
use moco_peers::Peers;
use monitor::{Measured, Monitor};
use outputs::last_good;
use scale::LossScale;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use step::{How, Told, learn_as};

/// Batches that may wait for the trainer.
const PREFETCH: usize = 4;

/// What does not change the result of a run.
#[derive(Clone, Copy, Debug)]
pub struct TrainerOptions {
    /// Threads that decode and augment.
    pub threads: usize,
    /// Decoded images kept in memory, in MiB.
    pub cache_mb: usize,
}

/// How a call of [`Trainer::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// Steps finished in all.
    pub steps: usize,
    /// Whether it was asked to stop before the end.
    pub stopped: bool,
    /// The last kNN accuracy, 0..=1.
    pub last_knn: Option<f64>,
}

/// What a step took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedStep {
    /// Wall time, in seconds.
    pub seconds: f64,
    /// What of it was spent waiting for images, in seconds.
    pub data_wait: f64,
}

impl TimedStep {
    fn of(report: &StepReport) -> Self {
        Self { seconds: report.seconds, data_wait: report.data_wait }
    }
}

/// When a step began, and how long this rank had waited for others by then.
struct StepBegin {
    at: Instant,
    exchanged: Duration,
}

/// A pretraining run: method, optimiser and position.
pub struct Trainer {
    config: Plan,
    dataset: Arc<Dataset>,
    options: TrainerOptions,
    device: Device,
    method: Box<dyn Method>,
    optimizer: Optimizer,
    /// What layers compute in while they train.
    arithmetic: Arithmetic,
    /// Of the loss, where gradients need one.
    scale: Option<LossScale>,
    step: usize,
    /// Steps whose losses are to be read, where they are read late.
    late: Option<Late>,
    /// Sum of the losses of the unfinished epoch, and how many they are.
    epoch_loss: f64,
    epoch_steps: usize,
    steps_per_epoch: usize,
    /// Whether the images are others than those that the run's folder lists.
    images_changed: bool,
    /// What there is to say about how the run goes on.
    notes: Vec<String>,
    peers: Peers,
    /// Unreadable images that all ranks know of.
    bad_known: usize,
    /// Seconds of the last step without its exchanges, of this rank and of the step before of all.
    own_busy: f64,
    busy: Vec<f64>,
    /// Sums of those of all ranks in the unfinished epoch, and of how many steps they are.
    epoch_busy: (Vec<f64>, usize),
}

impl Trainer {
    /// A run at its first step.
    ///
    /// # Errors
    /// [`TrainError::Data`] when there are fewer images than a batch.
    pub fn new(
        config: &Plan,
        dataset: Arc<Dataset>,
        device: &Device,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        let steps_per_epoch = steps_per_epoch(config, &dataset)?;
        config.check_memory(dataset.len())?;
        let mut method = config.method(dataset.len(), device);
        let optimizer = Optimizer::new(&config.optim, method.student());
        let arithmetic = Arithmetic::on(device, config.train.precision.unwrap_or_default())?;
        Ok(Self {
            config: config.clone(),
            dataset,
            options,
            device: device.clone(),
            method,
            optimizer,
            arithmetic,
            scale: (arithmetic == Arithmetic::F16).then(LossScale::default),
            step: 0,
            late: device::is_apart(device).then(Late::default),
            epoch_loss: 0.0,
            epoch_steps: 0,
            steps_per_epoch,
            images_changed: true,
            notes: Vec::new(),
            peers: Peers::SOLO,
            bad_known: 0,
            own_busy: 0.0,
            busy: Vec::new(),
            epoch_busy: Default::default(),
        })
    }

    /// Makes this process one rank of several that train the run, all of which must call it; rank 0 alone
    /// writes files.
    ///
    /// # Errors
    /// [`TrainError::Ranks`] for what does not split over so many, and for a method that is not made for several.
    pub fn among(mut self, peers: Peers) -> Result<Self, TrainError> {
        check_ranks(&self.config, &self.device, peers.size())?;
        if !peers.alone() && !self.config.spec().profile().ranks {
            let name = self.config.method.name();
            let why = format!(
                "{name} does not compare its images with those of other ranks: run it as one"
            );
            return Err(TrainError::Ranks(why));
        }
        share(self.method.as_mut(), peers);
        self.peers = peers;
        Ok(self)
    }

    /// A run as its newest checkpoint left it.
    ///
    /// # Errors
    /// [`TrainError`] when there is no usable checkpoint or the data set has changed.
    pub fn resume(
        run: &RunDir,
        dataset: Arc<Dataset>,
        device: &Device,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        Resume::open(run, Changed::default())?.trainer(run, dataset, device, options)
    }

    /// Has losses read some steps late, or at once. A GPU's are read late, so that it need not wait for the
    /// host: of four steps together, and before a checkpoint, a monitor and the end. The run is the same to the
    /// bit; only a loss that is no number is told up to three steps later.
    pub fn read_late(&mut self, late: bool) {
        self.late = late.then(Late::default);
    }

    /// The configuration of the run.
    pub fn config(&self) -> &Plan {
        &self.config
    }

    /// The images.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The method and its state.
    pub fn method(&mut self) -> &mut dyn Method {
        self.method.as_mut()
    }

    /// Steps after which the run ends.
    pub fn total_steps(&self) -> usize {
        let all = self.schedule_steps();
        self.config.train.max_steps.map_or(all, |max| max.min(all))
    }

    fn schedule_steps(&self) -> usize {
        self.config.train.epochs * self.steps_per_epoch
    }

    /// The frame of the run.
    pub fn facts(&mut self) -> Start {
        let expectation = self.method.expectation();
        Start {
            method: self.config.method.name().to_owned(),
            images: self.dataset.len(),
            steps_per_epoch: self.steps_per_epoch,
            total_steps: self.total_steps(),
            first_step: self.step,
            batch_size: self.config.train.batch_size,
            parameters: count_params(self.method.student()),
            chance_loss: expectation.chance,
        }
    }

    /// Trains to the end, or until `stop` is set, keeping everything in the folder `run`.
    ///
    /// # Errors
    /// [`TrainError`]; what was saved before stays good.
    pub fn run(
        &mut self,
        run: &RunDir,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Finished, TrainError> {
        self.prepare(run, observer)?;
        let mut monitor = self.monitor()?;
        let mut loader = self.loader()?;
        self.begin_late();
        observer.event(&Event::Start(self.facts()));
        for note in std::mem::take(&mut self.notes) {
            observer.event(&Event::Note(note));
        }
        self.explain(observer);
        for skipped in self.dataset.skipped() {
            let (name, reason) = (skipped.name.clone(), skipped.reason.clone());
            observer.event(&Event::BadFile { name, reason });
        }

        let (mut last_knn, first) = (None, self.step);
        let mut bad_files = BTreeSet::new();
        let mut teller = Teller::new(self.method.expectation());
        // Several ranks stop together, as they agree before each step.
        let alone = self.peers.alone();
        while self.step < self.total_steps() && !(alone && stop.load(Ordering::Relaxed)) {
            let reports = match self.train_step(&mut loader, run, stop) {
                // What another rank failed at is told by that rank; what was learnt is saved here too.
                Err(error @ TrainError::Peer { .. }) => {
                    self.save(run, observer)?;
                    return Err(error);
                }
                Err(TrainError::Data(error)) => {
                    teller.tell(self.read_losses(run)?, observer);
                    report_bad_files(&loader, &mut bad_files, observer);
                    return Err(self.saved_after(error, first, run, observer));
                }
                other => other?,
            };
            let Some(mut reports) = reports else { break };
            let epoch_ends = self.step.is_multiple_of(self.steps_per_epoch);
            let every = self.config.train.checkpoint_steps;
            let is_due = every > 0 && self.step.is_multiple_of(every);
            let saves = observer.asks_to_save() || epoch_ends || is_due;
            if saves || self.step == self.total_steps() {
                reports.extend(self.read_losses(run)?);
            }
            teller.tell(reports, observer);
            report_bad_files(&loader, &mut bad_files, observer);

            if let (true, Some(last)) = (epoch_ends, &teller.last) {
                let measured = self.measured(monitor.as_mut(), run, observer)?;
                let epoch = self.finish_epoch(last, &mut teller.clock, measured);
                last_knn = epoch.knn.or(last_knn);
                observer.event(&Event::Epoch(epoch));
            }
            if saves {
                self.save(run, observer)?;
            }
        }
        teller.tell(self.read_losses(run)?, observer);
        self.save(run, observer)?;
        Ok(Finished { steps: self.step, stopped: self.step < self.total_steps(), last_knn })
    }

    /// Says at the start what there is to know about the loss and about batches in parts.
    fn explain(&self, observer: &mut dyn Observer) {
        let expectation = self.method.expectation();
        observer.event(&Event::Note(expectation.advice));
        if let Some(advice) = monitor::advice(&self.config, &self.dataset) {
            observer.event(&Event::Note(advice));
        }
        let parts = self.config.optim.accumulate;
        let norm = self.config.has_batch_norm();
        let norm = norm.then_some("since BatchNorm takes the statistics of each part");
        let apart = expectation.parts_differ.filter(|_| !self.config.optim.exact_parts());
        if let (2.., Some(why)) = (parts, apart.or(norm)) {
            observer.event(&Event::Note(format!(
                "optim.accumulate = {parts}: a batch in parts is not the same as the whole, {why}"
            )));
        }
    }

    /// Times `count` steps from the present state, as a run makes them; for estimates.
    ///
    /// # Errors
    /// [`TrainError`] as a run would meet it.
    pub fn time_steps(&mut self, count: usize) -> Result<Vec<TimedStep>, TrainError> {
        let mut loader = self.loader()?;
        let nowhere = RunDir::at(Path::new(""));
        let never = AtomicBool::new(false);
        self.begin_late();
        let mut reports = Vec::new();
        for _ in 0..count {
            reports.extend(self.train_step(&mut loader, &nowhere, &never)?.unwrap_or_default());
        }
        reports.extend(self.read_losses(&nowhere)?);
        Ok(reports.iter().map(TimedStep::of).collect())
    }

    /// Times `count` steps from the present state on one batch that lies ready: what steps take where
    /// nothing is read, decoded or augmented beside them. Of one process alone.
    ///
    /// # Errors
    /// [`TrainError`] as a run would meet it.
    pub fn time_steps_alone(&mut self, count: usize) -> Result<Vec<TimedStep>, TrainError> {
        let batch = self.loader()?.next_batch()?;
        let batch = moco_data::Batch { waited: Duration::ZERO, ..batch };
        let nowhere = RunDir::at(Path::new(""));
        let step = |_| {
            let batch = batch.clone();
            let begin = StepBegin { at: Instant::now(), exchanged: self.peers.waited() };
            let fetched = self.on_device(batch);
            let report = match self.learn_from(fetched, begin, &nowhere)? {
                Reported::Now(report) => report,
                Reported::Later(asked) => self.read(asked, &nowhere)?,
            };
            Ok(TimedStep::of(&report))
        };
        (0..count).map(step).collect()
    }

    fn monitor(&self) -> Result<Option<Monitor>, TrainError> {
        let (config, device, peers) = (&self.config, &self.device, self.peers);
        let encoder = || {
            let network = config.encoder(device);
            FrozenEncoder::new(network, config.eval_view().clone(), device).among(peers)
        };
        Monitor::new(config, &self.dataset, self.options.threads, encoder)
    }

    fn loader(&self) -> Result<Loader, TrainError> {
        let data = &self.config.data;
        let config = LoaderConfig {
            batch_size: self.config.train.batch_size,
            views: self.config.views().to_vec(),
            seed: self.config.train.seed,
            threads: self.options.threads,
            max_bad_share: data.max_bad_share,
            cache_mb: self.options.cache_mb,
            prefetch: PREFETCH,
        };
        let share = Share { number: self.peers.rank(), of: self.peers.size() };
        Ok(Loader::start_share(self.dataset.clone(), config, share, self.step)?)
    }

    /// One step: batch, loss, gradients, update, and what the method does after it. The reports of all
    /// steps whose losses are read now: of this one, but where losses are read late. None if `stop` is set
    /// while the batch is waited for.
    fn train_step(
        &mut self,
        loader: &mut Loader,
        run: &RunDir,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<StepReport>>, TrainError> {
        let begin = StepBegin { at: Instant::now(), exchanged: self.peers.waited() };
        let own = self.fetch(loader, stop);
        let fetched = self.all_have(own, stop)?;
        ranks::share_bad_files(loader, &mut self.bad_known, self.peers);
        let Some(fetched) = fetched else { return Ok(None) };
        match self.learn_from(fetched, begin, run)? {
            Reported::Now(report) => Ok(Some(vec![report])),
            Reported::Later(asked) => self.asked(asked, loader, run, stop).map(Some),
        }
    }

    /// What of a step follows when its batch is there.
    fn learn_from(
        &mut self,
        fetched: Fetched,
        begin: StepBegin,
        run: &RunDir,
    ) -> Result<Reported, TrainError> {
        let Fetched { batch, epoch, waited } = fetched;
        let (rates, at) = (self.rates(), self.position());
        let (parts, late) = (Parts::of(&self.config.optim), self.late.is_some());
        let how = How { parts, peers: self.peers, late };
        let (method, optimizer) = (self.method.as_mut(), &mut self.optimizer);
        let scale = self.scale.as_mut();
        let learn = || learn_as(how, method, optimizer, batch, at, &rates, scale);
        let told = self.arithmetic.during(learn);
        let told = told.map_err(|NotFinite(loss)| self.non_finite(loss, run))?;

        self.step += 1;
        let mut report = StepReport {
            step: self.step,
            epoch,
            loss: f64::NAN,
            lr: rates.lr,
            metrics: Vec::new(),
            seconds: 0.0,
            data_wait: waited.as_secs_f64(),
        };
        let Learnt { loss, metrics } = match told {
            Told::Later(unread) => {
                return Ok(Reported::Later(Asked { unread, begin: begin.at, report }));
            }
            Told::Now(learnt) => learnt,
        };
        (report.loss, report.metrics) = (loss, metrics);
        if !self.peers.alone() {
            report.metrics.extend(ranks::load(&self.busy));
            let exchanges = self.peers.waited() - begin.exchanged;
            report.metrics.push(("exchange_seconds", exchanges.as_secs_f64()));
            self.own_busy = begin.at.elapsed().saturating_sub(exchanges).as_secs_f64();
        }
        self.count(loss);
        report.seconds = begin.at.elapsed().as_secs_f64();
        Ok(Reported::Now(report))
    }

    /// A batch, if all ranks have theirs and none was asked to stop.
    fn all_have(
        &mut self,
        loaded: Result<Option<Fetched>, DataError>,
        stop: &AtomicBool,
    ) -> Result<Option<Fetched>, TrainError> {
        if self.peers.alone() {
            return Ok(loaded?);
        }
        let loaded = loaded.map(|batch| batch.filter(|_| !stop.load(Ordering::Relaxed)));
        let (status, busy) = ranks::status(&loaded, self.own_busy, self.peers);
        ranks::add_busy(&mut self.epoch_busy, &busy, self.own_busy > 0.0);
        self.busy = busy;
        match status {
            ranks::Status::Ready => Ok(loaded?),
            ranks::Status::Stop => Ok(None),
            ranks::Status::Failed(rank, _) if rank == self.peers.rank() => Ok(loaded?),
            ranks::Status::Failed(rank, reason) => {
                let host = self.peers.hosts()[rank].clone();
                Err(TrainError::Peer { rank, host, reason })
            }
        }
    }

    fn position(&self) -> Step {
        Step {
            index: self.step,
            total: self.schedule_steps(),
            per_epoch: self.steps_per_epoch,
            seed: self.config.train.seed,
            part: 0,
        }
    }

    fn rates(&self) -> Rates {
        let (optim, train) = (&self.config.optim, &self.config.train);
        let (step, per_epoch) = (self.step, self.steps_per_epoch);
        Rates {
            lr: self.config.rate().at(step, per_epoch),
            fixed_lr: self.config.rate().peak,
            weight_decay: schedule::weight_decay(optim, train, step, per_epoch),
        }
    }

    /// What the monitor measures of the weights at the end of an epoch.
    fn measured(
        &mut self,
        monitor: Option<&mut Monitor>,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> Result<Measured, TrainError> {
        let epoch = self.step / self.steps_per_epoch;
        let is_last = self.step == self.total_steps();
        let due = |every: usize| every > 0 && (epoch.is_multiple_of(every) || is_last);
        let Some(monitor) = monitor else { return Ok(Measured::default()) };
        let bank = self.config.monitor.asks_bank().then(|| self.method.memory()).flatten();
        match monitor.measure(self.method.encoder(), bank, &self.config, due, observer) {
            Err(EvalError::NotFinite { example, .. }) => {
                Err(self.broken(&format!("the feature of {example}"), run))
            }
            other => Ok(other?),
        }
    }

    fn finish_epoch(
        &mut self,
        last: &StepReport,
        clock: &mut EpochClock,
        measured: Measured,
    ) -> EpochReport {
        let epoch = self.step / self.steps_per_epoch;
        let Measured { scores, quality } = measured;
        let clock = std::mem::take(clock);
        let steps = std::mem::take(&mut self.epoch_steps);
        let dim = self.method.expectation().dim as f64;
        let (sums, told) = std::mem::take(&mut self.epoch_busy);
        let rank_seconds = sums.iter().map(|sum| sum / told as f64).collect();
        let std = last.metrics.iter().find(|(name, _)| *name == "feature_std");
        EpochReport {
            epoch,
            step: self.step,
            loss: std::mem::take(&mut self.epoch_loss) / steps as f64,
            lr: last.lr,
            images_per_second: clock.images_per_second(self.config.train.batch_size),
            data_wait_share: clock.waited / clock.seconds,
            seconds: clock.seconds,
            knn: scores.as_ref().map(|scores| scores.knn),
            probe: scores.as_ref().and_then(|scores| scores.probe),
            knn_protocol: scores.map(|scores| scores.protocol),
            quality,
            feature_std: std.map(|(_, std)| (*std, 1.0 / dim.sqrt())),
            rank_seconds,
        }
    }

    fn non_finite(&self, loss: f64, run: &RunDir) -> TrainError {
        let mend = last_good(run);
        TrainError::NonFinite { loss, step: self.step, mend }
    }
}

/// Tells of steps, and keeps what is asked about them later.
struct Teller {
    clock: EpochClock,
    collapse: CollapseWatch,
    expectation: Expectation,
    last: Option<StepReport>,
}

impl Teller {
    fn new(expectation: Expectation) -> Self {
        let (clock, collapse) = (EpochClock::default(), CollapseWatch::default());
        Self { clock, collapse, expectation, last: None }
    }

    fn tell(&mut self, reports: Vec<StepReport>, observer: &mut dyn Observer) {
        for report in reports {
            self.clock.add(&report);
            observer.event(&Event::Step(report.clone()));
            if let Some(warning) = self.collapse.see(&report, &self.expectation) {
                observer.event(&Event::Warning(warning));
            }
            self.last = Some(report);
        }
    }
}

/// Time spent in an epoch, as far as this process has seen it.
#[derive(Default)]
struct EpochClock {
    steps: usize,
    seconds: f64,
    waited: f64,
}

impl EpochClock {
    fn add(&mut self, step: &StepReport) {
        self.steps += 1;
        self.seconds += step.seconds;
        self.waited += step.data_wait;
    }

    fn images_per_second(&self, batch_size: usize) -> f64 {
        (self.steps * batch_size) as f64 / self.seconds.max(Duration::from_nanos(1).as_secs_f64())
    }
}

/// Tells the observer of the bad files that are not in `known` yet, and adds them.
fn report_bad_files(loader: &Loader, known: &mut BTreeSet<usize>, observer: &mut dyn Observer) {
    if loader.bad_file_count() == known.len() {
        return; // the usual case, at every step
    }
    for file in loader.bad_files() {
        if known.insert(file.index) {
            observer.event(&Event::BadFile { name: file.name, reason: file.reason });
        }
    }
}

/// Whole batches in a data set.
///
/// # Errors
/// [`TrainError::Data`] when there is none.
fn steps_per_epoch(config: &Plan, dataset: &Dataset) -> Result<usize, TrainError> {
    let (images, batch) = (dataset.len(), config.train.batch_size);
    match images / batch {
        0 => Err(DataError::BatchTooLarge { batch, images }.into()),
        steps => Ok(steps),
    }
}
