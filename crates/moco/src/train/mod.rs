//! The loop: batches in, steps, monitors, checkpoints out.
//!
//! The only module that brings data, methods, optimisers, checkpoints and evaluation together.
//! Nothing in the library imports it.

mod bank;
mod collapse;
mod error;
mod exact;
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

use crate::batch::Batch;
use crate::device::Arithmetic;
use crate::eval::{EvalError, FrozenEncoder};
use crate::methods::{Method, Step};
use crate::nn::{count_params, share};
use crate::optim::Optimizer;
use crate::plan::Plan;
use crate::run::RunDir;
use crate::schedule;
use burn::tensor::Device;
use collapse::CollapseWatch;
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
use step::learn_scaled;

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
        let mut clock = EpochClock::default();
        let mut bad_files = BTreeSet::new();
        let (mut collapse, expectation) = (CollapseWatch::default(), self.method.expectation());
        // Several ranks stop together, as they agree before each step.
        let alone = self.peers.alone();
        while self.step < self.total_steps() && !(alone && stop.load(Ordering::Relaxed)) {
            let report = match self.train_step(&mut loader, run, stop) {
                // What another rank failed at is told by that rank; what was learnt is saved here too.
                Err(error @ TrainError::Peer { .. }) => {
                    self.save(run, observer)?;
                    return Err(error);
                }
                Err(TrainError::Data(error)) => {
                    report_bad_files(&loader, &mut bad_files, observer);
                    return Err(self.saved_after(error, first, run, observer));
                }
                other => other?,
            };
            let Some(report) = report else { break };
            clock.add(&report);
            observer.event(&Event::Step(report.clone()));
            if let Some(warning) = collapse.see(&report, &expectation) {
                observer.event(&Event::Warning(warning));
            }
            report_bad_files(&loader, &mut bad_files, observer);

            let epoch_ends = self.step.is_multiple_of(self.steps_per_epoch);
            if epoch_ends {
                let measured = self.measured(monitor.as_mut(), run, observer)?;
                let epoch = self.finish_epoch(&report, &mut clock, measured);
                last_knn = epoch.knn.or(last_knn);
                observer.event(&Event::Epoch(epoch));
            }
            let every = self.config.train.checkpoint_steps;
            let is_due = every > 0 && self.step.is_multiple_of(every);
            if observer.asks_to_save() || epoch_ends || is_due {
                self.save(run, observer)?;
            }
        }
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
        let step = |_| self.train_step(&mut loader, &nowhere, &never).transpose();
        (0..count).filter_map(step).map(|report| Ok(TimedStep::of(&report?))).collect()
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
            Ok(TimedStep::of(&self.learn_from(batch, begin, &nowhere)?))
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

    /// One step: batch, loss, gradients, update, and what the method does after it. None if `stop`
    /// is set while the batch is waited for.
    fn train_step(
        &mut self,
        loader: &mut Loader,
        run: &RunDir,
        stop: &AtomicBool,
    ) -> Result<Option<StepReport>, TrainError> {
        let begin = StepBegin { at: Instant::now(), exchanged: self.peers.waited() };
        let own = loader.next_batch_until(stop);
        let loaded = self.all_have(own, stop)?;
        ranks::share_bad_files(loader, &mut self.bad_known, self.peers);
        loaded.map(|loaded| self.learn_from(loaded, begin, run)).transpose()
    }

    /// What of a step follows when its batch is there.
    fn learn_from(
        &mut self,
        loaded: moco_data::Batch,
        begin: StepBegin,
        run: &RunDir,
    ) -> Result<StepReport, TrainError> {
        let (epoch, waited) = (loaded.epoch, loaded.waited);
        let batch = Batch::new(loaded, &self.device);
        let (rates, at) = (self.rates(), self.position());
        let (method, parts) = (self.method.as_mut(), Parts::of(&self.config.optim));
        let optimizer = &mut self.optimizer;
        let (peers, scale) = (self.peers, self.scale.as_mut());
        let learnt = self
            .arithmetic
            .during(|| learn_scaled(method, optimizer, batch, at, &rates, parts, peers, scale));
        let Learnt { loss, mut metrics } =
            learnt.map_err(|NotFinite(loss)| self.non_finite(loss, run))?;
        if !self.peers.alone() {
            metrics.extend(ranks::load(&self.busy));
            let exchanges = self.peers.waited() - begin.exchanged;
            metrics.push(("exchange_seconds", exchanges.as_secs_f64()));
            self.own_busy = begin.at.elapsed().saturating_sub(exchanges).as_secs_f64();
        }

        self.step += 1;
        self.epoch_loss += loss;
        self.epoch_steps += 1;
        Ok(StepReport {
            step: self.step,
            epoch,
            loss,
            lr: rates.lr,
            metrics,
            seconds: begin.at.elapsed().as_secs_f64(),
            data_wait: waited.as_secs_f64(),
        })
    }

    /// A loaded batch, if all ranks have theirs and none was asked to stop.
    fn all_have(
        &mut self,
        loaded: Result<Option<moco_data::Batch>, DataError>,
        stop: &AtomicBool,
    ) -> Result<Option<moco_data::Batch>, TrainError> {
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
