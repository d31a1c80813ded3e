//! The loop: batches in, steps, monitors, checkpoints out.
//!
//! The only module that brings data, methods, optimisers, checkpoints and evaluation together.
//! Nothing in the library imports it.

mod bank;
mod classifier;
mod collapse;
mod exact;
mod lock;
mod monitor;
mod open;
mod outputs;
mod ranks;
mod resume;
mod room;
mod run_dir;
mod scale;
mod step;
mod trained;

pub use crate::events::{EpochReport, Event, Observer, Start, StepReport};
pub use bank::{Bank, has_bank, open_bank};
pub use classifier::{ClassifierCard, open_classifier, save_classifier};
pub use open::open_encoder;
pub use ranks::{agree as agree_among_ranks, check as check_ranks};
pub use resume::{Changed, Resume};
pub use run_dir::{LatestError, RunDir, RunDirError};
pub use step::{Learnt, NotFinite, Parts, Rates, learn, learn_among};
pub use trained::{EncoderError, TrainedEncoder, load_encoder};

use crate::batch::Batch;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::device::{Arithmetic, DeviceError};
use crate::eval::{EvalError, FrozenEncoder};
use crate::files::NoRoom;
use crate::methods::{Method, Step};
use crate::nn::{count_params, share};
use crate::optim::Optimizer;
use crate::plan::Plan;
use crate::schedule;
use burn::tensor::Device;
use collapse::CollapseWatch;
use moco_data::{DataError, Dataset, Loader, LoaderConfig, Share};
use moco_peers::Peers;
use monitor::{Measured, Monitor};
use outputs::last_good;
use scale::LossScale;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use step::learn_scaled;

/// Batches that may wait for the trainer.
const PREFETCH: usize = 4;

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The run's folder.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The monitor.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The data set is not the one that the checkpoint was trained on.
    #[error("{} is not the data set that this run was started with, and what has changed cannot be told image by image: restore it, take it as it is with --accept-new-data, or start a new run", .0.display())]
    DataChanged(PathBuf),
    /// A memory bank is asked for other images than it remembers.
    #[error("the memory has a row for each image that the run began with, in {}, and these are others: give --train the run's own images", .0.display())]
    OtherImages(PathBuf),
    /// The disk is full.
    #[error("{full}: make room and run `moco pretrain --resume {run}`; {last}")]
    NoRoom {
        /// The disk, what is free and what is needed.
        full: NoRoom,
        /// The run's folder, as a word for a shell.
        run: String,
        /// The last good checkpoint, as half a sentence.
        last: String,
    },
    /// Too many images are gone.
    #[error("{count} of the {images} images are gone since the run began ({:.2} %, more than the {:.2} % allowed), such as `{example}`: restore them, go on without them by raising data.max_bad_share, or take the images as they are with --accept-new-data", 100.0 * *count as f64 / *images as f64, 100.0 * share)]
    ImagesGone {
        /// How many, without those that were known to be bad.
        count: usize,
        /// Images that the run began with.
        images: usize,
        /// One of them.
        example: String,
        /// The share that may be gone, in 0..=1.
        share: f64,
    },
    /// Another data set for a method that remembers each image.
    #[error(
        "--accept-new-data: {0} remembers every image by its number, which other images would not have: leave it out, or start a new run"
    )]
    ImagesRemembered(String),
    /// The images failed in the middle of a run, whose state is saved.
    #[error("{source}; the run is saved after step {step}, go on with `{mend}`")]
    Images {
        /// What is wrong with them.
        source: Box<DataError>,
        /// Steps finished.
        step: usize,
        /// The command that goes on.
        mend: String,
    },
    /// The weights are no longer numbers.
    #[error(
        "the weights are no finite numbers, or too large to compute with, after step {step}, for example {what}: {mend}; lower optim.lr or raise method.temperature and start again"
    )]
    BrokenWeights {
        /// Where it was seen.
        what: String,
        /// Steps finished.
        step: usize,
        /// Where the last good state is.
        mend: String,
    },
    /// More ranks than can share what is to be done.
    #[error("{0}")]
    Ranks(String),
    /// Another rank cannot go on.
    #[error("rank {rank} on {host}: {reason}")]
    Peer {
        /// Its number.
        rank: usize,
        /// Its machine.
        host: String,
        /// What it says.
        reason: String,
    },
    /// Labelled test images that the training images cannot classify.
    #[error(
        "the class folders of monitor.knn_test differ from those of the training images: give test images of the same classes, or leave it out"
    )]
    KnnClasses,
    /// The loss is no longer a number.
    #[error(
        "the loss became {loss} at step {step}: {mend}; lower optim.lr or raise method.temperature and start again"
    )]
    NonFinite {
        /// The value.
        loss: f64,
        /// Steps finished before.
        step: usize,
        /// Where the last good state is.
        mend: String,
    },
}

impl From<LatestError> for TrainError {
    fn from(error: LatestError) -> Self {
        match error {
            LatestError::Dir(error) => error.into(),
            LatestError::Checkpoint(error) => error.into(),
        }
    }
}

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

    /// The same run as one rank of several, all of which must call it; rank 0 alone writes files.
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

    /// Wall times, in seconds, of `count` steps from the present state; for estimates.
    ///
    /// # Errors
    /// [`TrainError`] as a run would meet it.
    pub fn time_steps(&mut self, count: usize) -> Result<Vec<f64>, TrainError> {
        let mut loader = self.loader()?;
        let nowhere = RunDir::at(Path::new(""));
        let never = AtomicBool::new(false);
        let step = |_| self.train_step(&mut loader, &nowhere, &never).transpose();
        (0..count).filter_map(step).map(|report| Ok(report?.seconds)).collect()
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
        let begin = Instant::now();
        let (begin_exchanges, own) = (self.peers.waited(), loader.next_batch_until(stop));
        let loaded = self.all_have(own, stop)?;
        ranks::share_bad_files(loader, &mut self.bad_known, self.peers);
        let Some(loaded) = loaded else { return Ok(None) };
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
            let exchanges = self.peers.waited() - begin_exchanges;
            metrics.push(("exchange_seconds", exchanges.as_secs_f64()));
            self.own_busy = begin.elapsed().saturating_sub(exchanges).as_secs_f64();
        }

        self.step += 1;
        self.epoch_loss += loss;
        self.epoch_steps += 1;
        Ok(Some(StepReport {
            step: self.step,
            epoch,
            loss,
            lr: rates.lr,
            metrics,
            seconds: begin.elapsed().as_secs_f64(),
            data_wait: waited.as_secs_f64(),
        }))
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
