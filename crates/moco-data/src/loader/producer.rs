//! The thread behind a [`Loader`](super::Loader): makes batch after batch and queues them.

use super::cache::Cache;
use super::order::{epoch_order, stand_ins};
use super::pool::share_out;
use super::{Batch, LoaderConfig, Share, ViewBatch};
use crate::augment::{Scratch, View};
use crate::error::{DataError, ImageError};
use crate::image::Image;
use crate::random::ViewKey;
use crate::source::Dataset;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Images that are tried in the place of one unreadable image.
const MAX_STAND_INS: usize = 100;

/// What one step sends to the trainer.
pub(super) struct Delivery {
    /// Unreadable images that the step came upon, with the reason.
    pub bad: Vec<(usize, String)>,
    pub batch: Result<Batch, DataError>,
}

pub(super) struct Producer {
    dataset: Arc<Dataset>,
    config: LoaderConfig,
    share: Share,
    cache: Cache,
    stop: Arc<AtomicBool>,
}

/// One image's place in a batch.
struct Slot {
    /// The image that is meant to be there; after the work, the one that is.
    index: usize,
    bad: Vec<(usize, String)>,
    error: Option<DataError>,
}

impl Producer {
    pub(super) fn new(
        dataset: Arc<Dataset>,
        config: LoaderConfig,
        share: Share,
        stop: Arc<AtomicBool>,
    ) -> Producer {
        let cache = Cache::new(dataset.len(), config.cache_mb.saturating_mul(1 << 20));
        Producer { dataset, config, share, cache, stop }
    }

    pub(super) fn steps_per_epoch(&self) -> usize {
        self.dataset.len() / self.config.batch_size
    }

    /// Makes batches until the receiver is gone or one fails.
    pub(super) fn run(&self, first_step: usize, queue: &SyncSender<Delivery>) {
        let mut workers: Vec<Scratch> = Vec::new();
        workers.resize_with(self.config.threads, Scratch::default);
        let mut order = Vec::new();
        for step in first_step.. {
            let epoch = step / self.steps_per_epoch();
            if order.is_empty() || step % self.steps_per_epoch() == 0 {
                order = epoch_order(self.config.seed, epoch as u64, self.dataset.len());
            }
            let delivery = self.step(step, epoch, &order, &mut workers);
            let failed = delivery.batch.is_err();
            if self.stop.load(Ordering::Relaxed) || queue.send(delivery).is_err() || failed {
                return;
            }
        }
    }

    /// Memory for the views of a batch.
    fn blank_views(&self) -> Vec<ViewBatch> {
        let n = self.config.batch_size / self.share.of;
        let blank = |view: &View| {
            let [height, width] = view.size();
            let pixels = vec![0.0; n * view.value_count()];
            ViewBatch { count: view.count(), height, width, pixels }
        };
        self.config.views.iter().map(blank).collect()
    }

    fn step(&self, step: usize, epoch: usize, order: &[u32], workers: &mut [Scratch]) -> Delivery {
        let n = self.config.batch_size;
        let mut views = self.blank_views();
        let start = step % self.steps_per_epoch() * n;
        let empty = |&index: &u32| Slot { index: index as usize, bad: Vec::new(), error: None };
        let slots = order[start..start + n].iter().skip(self.share.number).step_by(self.share.of);
        let mut slots: Vec<Slot> = slots.map(empty).collect();
        let mut images: Vec<_> = views
            .iter_mut()
            .zip(&self.config.views)
            .map(|(batch, view)| batch.pixels.chunks_exact_mut(view.value_count()))
            .collect();
        let jobs = slots.iter_mut().map(|slot| {
            let outs: Vec<&mut [f32]> = images.iter_mut().filter_map(Iterator::next).collect();
            (slot, outs)
        });
        let lost = AtomicBool::new(false);
        let ends = || self.stop.load(Ordering::Relaxed) || lost.load(Ordering::Relaxed);
        let running = jobs.take_while(|_| !ends());
        let outcome = share_out(running, workers, |(slot, outs), scratch| {
            self.fill(slot, outs, epoch as u64, scratch);
            lost.fetch_or(slot.error.is_some(), Ordering::Relaxed);
        });

        let error = outcome.err().or_else(|| slots.iter_mut().find_map(|slot| slot.error.take()));
        let indices = slots.iter().map(|slot| slot.index).collect();
        let bad = slots.into_iter().flat_map(|slot| slot.bad).collect();
        let batch = Batch { epoch, step, indices, views, waited: Duration::ZERO };
        Delivery { bad, batch: error.map_or(Ok(batch), Err) }
    }

    /// Loads a slot's image, or a stand-in, and writes its views.
    fn fill(&self, slot: &mut Slot, outs: Vec<&mut [f32]>, epoch: u64, scratch: &mut Scratch) {
        // Views are drawn for the image that was meant to be there: a stand-in that is in the
        // batch already then shows other views.
        let image = slot.index as u64;
        let seed = self.config.seed;
        let Some(pixels) = self.load(slot, epoch) else { return };
        for (number, (view, out)) in self.config.views.iter().zip(outs).enumerate() {
            let key = ViewKey { seed, epoch, image, view: number as u64 };
            view.apply_with(scratch, &pixels, key, out, &mut |_| {});
        }
    }

    fn load(&self, slot: &mut Slot, epoch: u64) -> Option<Cow<'_, Image>> {
        let wanted = slot.index;
        // All views have the same.
        let range = self.config.views[0].range();
        let others = stand_ins(self.config.seed, epoch, wanted as u64, self.dataset.len());
        for index in std::iter::once(wanted).chain(others.take(MAX_STAND_INS)) {
            match self.cache.fetch(&self.dataset, index, range) {
                Ok(image) => {
                    slot.index = index;
                    return Some(image);
                }
                Err(ImageError::Unreachable { reason }) => {
                    slot.error = Some(DataError::Unreachable { reason });
                    return None;
                }
                Err(error) => slot.bad.push((index, error.to_string())),
            }
        }
        slot.error = Some(DataError::NoStandIn {
            name: self.dataset.name(wanted).into(),
            reason: slot.bad[0].1.clone(),
            tries: MAX_STAND_INS,
        });
        None
    }
}
