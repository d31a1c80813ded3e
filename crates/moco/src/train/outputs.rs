//! What a run leaves in its folder: checkpoints, and the encoder, always of the newest checkpoint.

use super::{TrainError, Trainer, ranks, room};
use crate::checkpoint::{self, CheckpointError, Meta};
use crate::events::{Event, Observer};
use crate::export::{Origin, read_origin, save_encoder_of};
use crate::files::shell_word;
use crate::nn::Module;
use crate::run::RunDir;
use moco_data::DataError;

impl Trainer {
    /// Prepares the folder: no leftovers, the list of images, and for a run that goes on whatever a
    /// kill between two files has left behind its checkpoint.
    pub(super) fn prepare(
        &mut self,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        self.first_rank_does(|trainer| trainer.prepare_alone(run, observer))
    }

    /// Lets the rank that writes do something while the others wait for how it ends.
    fn first_rank_does(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let peers = self.peers;
        let done = if peers.speaks() { work(self).map(Some) } else { Ok(Some(())) };
        if peers.alone() {
            return done.map(|_| ());
        }
        match ranks::status(&done, 0.0, peers).0 {
            ranks::Status::Failed(rank, reason) if rank != peers.rank() => {
                let host = peers.hosts()[rank].clone();
                Err(TrainError::Peer { rank, host, reason })
            }
            _ => done.map(|_| ()),
        }
    }

    fn prepare_alone(
        &mut self,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        run.create_checkpoints()?;
        run.remove_unfinished();
        run.write_config(&self.config)?;
        room::check(run, self.bytes_to_save(run))?;
        if self.images_changed || !run.images().exists() {
            run.write_images(&self.dataset)?;
            self.images_changed = false;
        }
        match self.step {
            0 => Ok(()),
            _ => self.save_alone(run, observer),
        }
    }

    /// Writes the full state and the encoder, as far as those of this step are not on disk. The state
    /// is global, so one rank writes it; that all have the same is looked up first.
    pub(super) fn save(
        &mut self,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if !self.peers.alone() {
            let sum = ranks::checksum(self.method.as_mut());
            let what = format!("state after step {}", self.step);
            ranks::agree(&[(what.as_str(), format!("{sum:08x}"))], self.peers)?;
        }
        self.first_rank_does(|trainer| trainer.save_alone(run, observer))
    }

    fn save_alone(&mut self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let path = run.checkpoint(self.step);
        let is_new = !path.exists();
        let size = self.state_size();
        if is_new {
            let meta = Meta {
                step: self.step,
                epoch_loss: self.epoch_loss,
                config: self.config.to_toml()?,
                data_fingerprint: self.dataset.fingerprint(),
            };
            room::check(run, size)?;
            let saved = checkpoint::save(&path, &mut self.state(), &meta);
            saved.map_err(|error| match error {
                error @ CheckpointError::NotFinite { .. } => self.explained(error, run),
                error => room::explain(run, size, error),
            })?;
        }
        run.prune(self.config.train.keep_checkpoints);
        if is_new || !self.encoder_is_current(run) {
            let origin = Origin::new(&self.config, self.step)?;
            save_encoder_of(self.method.encoder(), &run.encoder(), Some(&origin))
                .map_err(|error| room::explain(run, size, error))?;
        }
        if is_new {
            observer.event(&Event::Saved(path));
        }
        Ok(())
    }

    /// All that a checkpoint holds, by name.
    pub(super) fn state(&mut self) -> Vec<(&'static str, &mut dyn Module)> {
        let mut parts: Vec<(&'static str, &mut dyn Module)> =
            vec![("method", self.method.as_mut()), ("optimizer", &mut self.optimizer)];
        if let Some(scale) = &mut self.scale {
            parts.push(("scale", scale));
        }
        parts
    }

    /// Bytes of a checkpoint.
    fn state_size(&mut self) -> u64 {
        room::file_size(self.method.as_mut()) + room::file_size(&mut self.optimizer)
    }

    /// Bytes that the run will have on disk at once, besides those of its checkpoints so far.
    fn bytes_to_save(&mut self, run: &RunDir) -> u64 {
        let (state, encoder) = (self.state_size(), room::file_size(self.method.encoder()));
        let (train, left) = (&self.config.train, self.total_steps().saturating_sub(self.step));
        let spacing = match train.checkpoint_steps {
            0 => self.steps_per_epoch,
            steps => steps.min(self.steps_per_epoch),
        };
        let present = run.list_checkpoints().map_or(0, |present| present.len());
        // An old one is deleted when the new one is there.
        let most = train.keep_checkpoints.saturating_add(1).saturating_sub(present).max(1);
        let count = most.min(left.div_ceil(spacing));
        state * count as u64 + encoder
    }

    fn encoder_is_current(&self, run: &RunDir) -> bool {
        let origin = read_origin(&run.encoder());
        origin.is_ok_and(|origin| origin.is_some_and(|origin| origin.step == self.step))
    }

    /// Saves what was learnt before the images failed, in this process from step `first` on, and says
    /// how to go on.
    pub(super) fn saved_after(
        &mut self,
        error: DataError,
        first: usize,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> TrainError {
        match self.save(run, observer) {
            Ok(()) => {
                let mut mend = format!("moco pretrain --resume {}", shell_word(run.path()));
                if let DataError::TooManyBad { count, images, .. } = &error {
                    let seen = (self.step + 1 - first) * self.config.train.batch_size;
                    // Twice what was found, as there may be more in what was not seen yet.
                    let share = (2.0 * *count as f64 / seen.min(*images).max(1) as f64).min(1.0);
                    mend += &format!(" --set data.max_bad_share={share:.3}");
                }
                TrainError::Images { source: Box::new(error), step: self.step, mend }
            }
            Err(unsaved) => {
                let told = format!("what was learnt since the last checkpoint is lost: {unsaved}");
                observer.event(&Event::Warning(told));
                error.into()
            }
        }
    }

    /// Weights that are no numbers, as the end of a run rather than as a fault of a file.
    pub(super) fn explained(&self, error: CheckpointError, run: &RunDir) -> TrainError {
        match error {
            CheckpointError::NotFinite { tensor, .. } => self.broken(&format!("`{tensor}`"), run),
            other => other.into(),
        }
    }

    /// The end of a run whose weights, of which `what` is an example, are no numbers.
    pub(super) fn broken(&self, what: &str, run: &RunDir) -> TrainError {
        let (what, mend) = (what.to_owned(), last_good(run));
        TrainError::BrokenWeights { what, step: self.step, mend }
    }
}

/// Where the last good state is.
pub(super) fn last_good(run: &RunDir) -> String {
    match run.list_checkpoints().as_deref() {
        Ok([.., path]) => format!("the last good checkpoint is {}", path.display()),
        Ok([]) => "no checkpoint was written yet".to_string(),
        Err(error) => error.to_string(),
    }
}
