//! Losses that are read some steps late, so that a GPU need not wait for the host.
//!
//! A GPU computes beside the host, which waits for it where it reads a value, until all that was asked for is
//! done; then the GPU waits for the host to ask for more. So the losses of [`TOGETHER`] steps are read at once,
//! when the next batch is on its way to the GPU. The weights have moved by then: a loss that is no number ends
//! the run all the same, before anything is saved.

use super::outputs::last_good;
use super::step::{Learnt, NotFinite, Unread};
use super::{PREFETCH, StepReport, TrainError, Trainer};
use crate::batch::Batch;
use crate::run::RunDir;
use moco_data::{DataError, Loader};
use moco_peers::Peers;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Steps that are read at once: as many as batches wait, so that the host, which is that far ahead of a GPU,
/// finds them there and does not count as waiting for data.
const TOGETHER: usize = PREFETCH;

/// Steps that were asked for and whose losses nobody has read.
#[derive(Default)]
pub(super) struct Late {
    asked: Vec<Asked>,
    /// The batch of the step after them.
    next: Option<Result<Option<Fetched>, DataError>>,
}

/// A step that was asked for.
pub(super) struct Asked {
    pub unread: Unread,
    pub begin: Instant,
    /// Its report, without what is to be read.
    pub report: StepReport,
}

/// How much of a step is known.
pub(super) enum Reported {
    Now(StepReport),
    Later(Asked),
}

/// A batch on the device.
pub(super) struct Fetched {
    pub batch: Batch,
    pub epoch: usize,
    /// How long the host waited for it.
    pub waited: Duration,
}

impl Trainer {
    /// Forgets a batch that was fetched ahead from another loader.
    pub(super) fn begin_late(&mut self) {
        self.late = self.late.take().map(|_| Late::default());
    }

    /// The next batch; none if `stop` is set while it is waited for.
    pub(super) fn fetch(
        &mut self,
        loader: &mut Loader,
        stop: &AtomicBool,
    ) -> Result<Option<Fetched>, DataError> {
        if let Some(next) = self.late.as_mut().and_then(|late| late.next.take()) {
            return next;
        }
        Ok(loader.next_batch_until(stop)?.map(|loaded| self.on_device(loaded)))
    }

    /// A loaded batch on the device.
    pub(super) fn on_device(&self, loaded: moco_data::Batch) -> Fetched {
        let (epoch, waited) = (loaded.epoch, loaded.waited);
        Fetched { batch: Batch::new(loaded, &self.device), epoch, waited }
    }

    /// Takes down a step whose loss is read late, and sends the batch of the next one after it; the reports of
    /// all that were not read, if it is time.
    pub(super) fn asked(
        &mut self,
        asked: Asked,
        loader: &mut Loader,
        run: &RunDir,
        stop: &AtomicBool,
    ) -> Result<Vec<StepReport>, TrainError> {
        let pauses =
            self.step.is_multiple_of(self.steps_per_epoch) || self.step == self.total_steps();
        let next = (!pauses).then(|| self.fetch(loader, stop));
        let late = self.late.as_mut().expect("a trainer that reads late");
        late.next = next;
        late.asked.push(asked);
        if late.asked.len() < TOGETHER { Ok(Vec::new()) } else { self.read_losses(run) }
    }

    /// The reports of all steps that were asked for and not read. They took equal shares of the time.
    ///
    /// # Errors
    /// [`TrainError::NonFinite`] of the first whose loss is no number.
    pub(super) fn read_losses(&mut self, run: &RunDir) -> Result<Vec<StepReport>, TrainError> {
        let asked = self.late.as_mut().map(|late| std::mem::take(&mut late.asked));
        let asked = asked.unwrap_or_default();
        let Some(begin) = asked.first().map(|asked| asked.begin) else { return Ok(Vec::new()) };
        let read = asked.into_iter().map(|asked| self.read(asked, run));
        let mut reports = read.collect::<Result<Vec<_>, _>>()?;
        let seconds = begin.elapsed().as_secs_f64() / reports.len() as f64;
        reports.iter_mut().for_each(|report| report.seconds = seconds);
        Ok(reports)
    }

    /// The report of a step that was asked for, when it is done.
    ///
    /// # Errors
    /// [`TrainError::NonFinite`].
    pub(super) fn read(&mut self, asked: Asked, run: &RunDir) -> Result<StepReport, TrainError> {
        let Asked { unread, begin, report } = asked;
        let read = unread.read(Peers::SOLO).map_err(|NotFinite(loss)| TrainError::NonFinite {
            loss,
            step: report.step - 1,
            mend: last_good(run),
        })?;
        let Learnt { loss, metrics } = read.whole(Peers::SOLO);
        self.count(loss);
        Ok(StepReport { loss, metrics, seconds: begin.elapsed().as_secs_f64(), ..report })
    }

    /// Adds a loss to those of the unfinished epoch.
    pub(super) fn count(&mut self, loss: f64) {
        self.epoch_loss += loss;
        self.epoch_steps += 1;
    }
}
