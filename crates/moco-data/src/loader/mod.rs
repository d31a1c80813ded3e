//! Decoding and augmentation on worker threads, ahead of whoever consumes the batches.
//!
//! ```text
//! epoch_order ─► slots of a batch ─► workers: load, views, normalise ─► bounded queue ─► next_batch
//! ```
//!
//! The content of a slot is a function of (seed, epoch, image) alone and every worker writes to
//! slots of its own, so batches are equal bit for bit whatever the number of threads.

mod cache;
mod contents;
mod eval;
mod headers;
mod order;
mod pool;
mod producer;

pub use contents::{Content, Contents, contents};
pub use eval::{EvalBatch, for_each_batch, for_each_batch_of_draws};
pub use headers::{HeaderScan, scan_headers};
pub use order::epoch_order;
pub(crate) use pool::share_out;

use crate::augment::View;
use crate::error::DataError;
use crate::source::{Dataset, someone_waits};
use producer::{Delivery, Producer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a wait for a batch looks up whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(20);

/// How long a dropped loader waits for workers of which some may be waiting for a server; then it
/// leaves them behind, and they end when that wait does.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// How a [`Loader`] makes batches.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Images per batch.
    pub batch_size: usize,
    /// One pipeline per view of each image.
    pub views: Vec<View>,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Worker threads.
    pub threads: usize,
    /// Batches that may wait, complete, for the trainer.
    pub prefetch: usize,
    /// Share of unreadable images, in 0..=1, above which loading stops; see [`allowed_bad`].
    pub max_bad_share: f64,
    /// Memory for decoded images in MiB, which are then decoded once; 0 for none. The batches do
    /// not depend on it.
    pub cache_mb: usize,
}

/// A share of every batch: the images in slots `number`, `number + of`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which share, from 0.
    pub number: usize,
    /// How many shares there are.
    pub of: usize,
}

impl Share {
    /// All of it.
    pub const ALL: Share = Share { number: 0, of: 1 };
}

/// One training batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Pass over the data, from 0.
    pub epoch: usize,
    /// Global step, from 0.
    pub step: usize,
    /// Index in the data set of the image in each slot.
    pub indices: Vec<usize>,
    /// One for each view of the configuration.
    pub views: Vec<ViewBatch>,
    /// How long `next_batch` waited for it.
    pub waited: Duration,
}

/// One view of every image of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewBatch {
    /// How many images the view makes of one: 1, or the number of patches.
    pub count: usize,
    /// Rows per image.
    pub height: usize,
    /// Pixels per row.
    pub width: usize,
    /// Normalised pixels, `[N * count, H, W, 3]`; the patches of an image are neighbours.
    pub pixels: Vec<f32>,
}

/// An image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// Index in the data set.
    pub index: usize,
    /// Name in the data set.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An endless stream of training batches, made on worker threads. Dropping it stops them.
pub struct Loader {
    dataset: Arc<Dataset>,
    steps_per_epoch: usize,
    max_bad_share: f64,
    bad: BTreeMap<usize, String>,
    /// How many of them are not gone since a run began, but damaged.
    damaged: usize,
    stop: Arc<AtomicBool>,
    /// Emptied on drop, which tells the producer that nobody waits any more.
    deliveries: Option<Receiver<Delivery>>,
    producer: Option<JoinHandle<()>>,
    /// Closed when the producer has ended.
    ended: Receiver<()>,
}

impl Loader {
    /// Starts the workers. The first batch is that of the global step `first_step`, as if all
    /// before it had been taken.
    ///
    /// # Errors
    /// If the data set holds less than one batch, or a setting is out of range.
    pub fn start(
        dataset: Arc<Dataset>,
        config: LoaderConfig,
        first_step: usize,
    ) -> Result<Loader, DataError> {
        Loader::start_share(dataset, config, Share::ALL, first_step)
    }

    /// As [`Loader::start`], for a share of every batch: only its images are read, and the shares
    /// together are the batches of one loader alone.
    ///
    /// # Errors
    /// As `start`, and if batches do not split into so many shares.
    pub fn start_share(
        dataset: Arc<Dataset>,
        config: LoaderConfig,
        share: Share,
        first_step: usize,
    ) -> Result<Loader, DataError> {
        check(&config, dataset.len())?;
        if share.number >= share.of || !config.batch_size.is_multiple_of(share.of) {
            let expected = "a multiple of the number of shares";
            return Err(DataError::Setting { setting: "batch_size", expected });
        }
        let (sender, deliveries) = sync_channel(config.prefetch);
        let stop = Arc::new(AtomicBool::new(false));
        let max_bad_share = config.max_bad_share;
        let producer = Producer::new(Arc::clone(&dataset), config, share, Arc::clone(&stop));
        let steps_per_epoch = producer.steps_per_epoch();
        let (ends, ended) = channel();
        let producer = thread::Builder::new()
            .name("loader".into())
            .spawn(move || {
                let _ends: Sender<()> = ends;
                producer.run(first_step, &sender);
            })
            .map_err(|_| DataError::NoThreads)?;
        Ok(Loader {
            dataset,
            steps_per_epoch,
            max_bad_share,
            bad: BTreeMap::new(),
            damaged: 0,
            stop,
            deliveries: Some(deliveries),
            producer: Some(producer),
            ended,
        })
    }

    /// Batches per pass over the data; the images beyond the last whole batch are left out, others
    /// in each epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// The next batch, waiting for it if need be.
    ///
    /// An image that cannot be read has its place taken by another one.
    ///
    /// # Errors
    /// If more images cannot be read than [`allowed_bad`] says, a server does not give them, or a worker
    /// broke down. Images that are gone since a run began do not count. The loader does not recover from
    /// an error.
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let batch = self.next_batch_until(&AtomicBool::new(false))?;
        batch.ok_or_else(stopped)
    }

    /// As [`next_batch`](Self::next_batch), but none if `stop` is set before the batch is there.
    ///
    /// # Errors
    /// As `next_batch`.
    pub fn next_batch_until(&mut self, stop: &AtomicBool) -> Result<Option<Batch>, DataError> {
        let start = Instant::now();
        let Some(delivery) = self.receive(stop)? else { return Ok(None) };
        let waited = start.elapsed();
        let Delivery { bad, batch } = delivery;
        for (index, reason) in bad {
            let is_new = self.bad.insert(index, reason).is_none();
            self.damaged += usize::from(is_new && !self.dataset.is_gone(index));
        }
        self.check_bad_share()?;
        batch.map(|batch| Some(Batch { waited, ..batch }))
    }

    fn receive(&self, stop: &AtomicBool) -> Result<Option<Delivery>, DataError> {
        let queue = self.deliveries.as_ref().ok_or_else(stopped)?;
        loop {
            match queue.recv_timeout(LOOK_UP) {
                Ok(delivery) => return Ok(Some(delivery)),
                Err(RecvTimeoutError::Disconnected) => return Err(stopped()),
                Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// How many unreadable images the batches taken so far had.
    pub fn bad_file_count(&self) -> usize {
        self.bad.len()
    }

    /// The unreadable images of the batches taken so far, sorted by name.
    pub fn bad_files(&self) -> Vec<BadFile> {
        bad_files(&self.dataset, self.bad.iter().map(|(&index, reason)| (index, reason.clone())))
    }

    /// Takes over which images others, with other shares of the same batches, could not read.
    pub fn note_bad(&mut self, bad: impl IntoIterator<Item = BadFile>) {
        for BadFile { index, reason, .. } in bad {
            let is_new = self.bad.insert(index, reason).is_none();
            self.damaged += usize::from(is_new && !self.dataset.is_gone(index));
        }
    }

    fn check_bad_share(&self) -> Result<(), DataError> {
        let (count, images) = (self.damaged, self.dataset.present());
        if count <= allowed_bad(self.max_bad_share, images) {
            return Ok(());
        }
        let damaged = |&(&index, _): &(&usize, &String)| !self.dataset.is_gone(index);
        let example = self.bad.iter().find(damaged);
        let (index, reason) = example.map_or((0, String::new()), |(&i, why)| (i, why.clone()));
        Err(DataError::TooManyBad {
            count,
            images,
            max_share: self.max_bad_share,
            example: self.dataset.name(index).into(),
            reason,
        })
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.deliveries = None;
        let start = Instant::now();
        while self.ended.recv_timeout(LOOK_UP) == Err(RecvTimeoutError::Timeout) {
            if start.elapsed() >= LAST_ANSWER && someone_waits() {
                return;
            }
        }
        if let Some(producer) = self.producer.take() {
            // A panic in there has reached `next_batch` as an error already.
            let _ = producer.join();
        }
    }
}

fn stopped() -> DataError {
    DataError::Worker { message: "it had already stopped".into() }
}

/// Unreadable images that are let pass whatever their share: of few images, one is a large share.
const FEW_BAD: usize = 3;
/// Images for each of those few.
const IMAGES_PER_FEW: usize = 10;

/// How many of `images` images may be unreadable if a share of them may: so many as the share says,
/// or 3, but no more than a tenth of few images, if that is more. A share of 0 allows none.
pub fn allowed_bad(max_share: f64, images: usize) -> usize {
    if max_share <= 0.0 {
        return 0;
    }
    let share = (max_share * images as f64).floor() as usize;
    share.max(FEW_BAD.min(images / IMAGES_PER_FEW))
}

fn check(config: &LoaderConfig, images: usize) -> Result<(), DataError> {
    let positive = "at least 1";
    let same_range = config.views.iter().all(|view| view.range() == config.views[0].range());
    let share_ok = (0.0..=1.0).contains(&config.max_bad_share);
    let rules = [
        (config.batch_size > 0, "batch_size", positive),
        (config.threads > 0, "threads", positive),
        (!config.views.is_empty(), "views", "at least one view"),
        (same_range, "views", "of one `range`, which each of them begins with"),
        (share_ok, "max_bad_share", "a share in 0..=1"),
    ];
    if let Some(&(_, setting, expected)) = rules.iter().find(|(ok, ..)| !ok) {
        return Err(DataError::Setting { setting, expected });
    }
    if images > u32::MAX as usize {
        return Err(DataError::TooManyImages { images });
    }
    if images < config.batch_size {
        return Err(DataError::BatchTooLarge { batch: config.batch_size, images });
    }
    Ok(())
}

/// Reports of unreadable images, sorted by name.
fn bad_files(dataset: &Dataset, bad: impl Iterator<Item = (usize, String)>) -> Vec<BadFile> {
    let name = |index| dataset.name(index).to_string();
    let mut files: Vec<BadFile> =
        bad.map(|(index, reason)| BadFile { index, name: name(index), reason }).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
