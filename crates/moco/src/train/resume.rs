//! How a run goes on: from which checkpoint, with which settings, on which images.

use super::{TrainError, Trainer, TrainerOptions};
use crate::checkpoint::Checkpoint;
use crate::plan::{Difference, Plan, differences, parse_run};
use crate::run::RunDir;
use burn::tensor::Device;
use moco_data::{Changes, Dataset, FileList, allowed_bad};
use moco_peers::Peers;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use toml::Value;

/// Share of the images that may be gone since a run began, if no more may be unreadable: what is
/// damaged is removed in good faith, but a folder that lacks half its images is not the same one.
const MAX_GONE_SHARE: f64 = 0.1;

/// What is asked of a run that goes on.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// Overrides of settings that may change, such as `data.max_bad_share=0.05`.
    pub settings: Vec<String>,
    /// Whether images that were added, removed or changed are taken as they are now.
    pub accept_new_data: bool,
    /// Names of images that are known to be bad, which may be gone without counting as lost.
    pub known_bad: HashSet<String>,
}

/// What ranks need to know besides the checkpoint.
#[derive(Serialize, Deserialize)]
struct Told {
    /// For messages alone.
    path: String,
    config: String,
    accept_new_data: bool,
    known_bad: HashSet<String>,
}

impl Told {
    fn of(own: &Resume) -> Result<Vec<u8>, TrainError> {
        let Changed { accept_new_data, known_bad, .. } = own.changed.clone();
        let (path, config) = (own.checkpoint.path().display().to_string(), own.config.to_toml()?);
        let told = Told { path, config, accept_new_data, known_bad };
        Ok(serde_json::to_vec(&told).expect("texts serialise"))
    }
}

/// A run that could go on.
pub struct Resume {
    checkpoint: Checkpoint,
    config: Plan,
    changed: Changed,
    notes: Vec<String>,
    /// The list of images in the run's folder, if another rank has read it.
    images: Option<Vec<u8>>,
}

impl Resume {
    /// Takes the newest whole checkpoint in `run` and settles the configuration: the checkpoint's,
    /// with what `config.toml` and then `changed` say of settings that may change.
    ///
    /// # Errors
    /// [`TrainError`] when there is no usable checkpoint, or for a change that is not allowed.
    pub fn open(run: &RunDir, changed: Changed) -> Result<Resume, TrainError> {
        let (checkpoint, mut notes) = run.latest()?;
        if !checkpoint.is_verified() {
            let path = checkpoint.path().display();
            notes.push(format!("{path} is of an early version and has no checksum to verify"));
        }
        let kept = parse_run(&checkpoint.meta().config)?;
        let edited = edited(run, &kept, &mut notes)?;
        let config = kept.with_second(&edited)?.with_changes(&changed.settings)?;
        Ok(Resume { checkpoint, config, changed, notes, images: None })
    }

    /// What rank 0 has found in the run's folder, which it alone reads, on all ranks; the others bring
    /// nothing. A collective call.
    ///
    /// # Errors
    /// [`TrainError`] for a checkpoint that does not come over whole.
    pub fn tell(own: Option<Resume>, run: &RunDir, peers: Peers) -> Result<Resume, TrainError> {
        let own = match own {
            Some(own) if peers.alone() => return Ok(own),
            own => own,
        };
        let told = own.as_ref().map(Told::of).transpose()?.unwrap_or_default();
        let told = peers.tell(told, "settings of the run");
        let images = own.as_ref().and_then(|_| fs::read(run.images()).ok()).unwrap_or_default();
        let images = peers.tell(images, "list of images");
        let file = own.as_ref().map_or_else(Vec::new, |own| own.checkpoint.bytes().to_vec());
        let file = peers.tell(file, "checkpoint");
        if let Some(own) = own {
            return Ok(own);
        }
        let told: Told = serde_json::from_slice(&told).expect("as rank 0 wrote it");
        Ok(Resume {
            checkpoint: Checkpoint::of_bytes(Path::new(&told.path), file)?,
            config: parse_run(&told.config)?,
            changed: Changed {
                settings: Vec::new(),
                accept_new_data: told.accept_new_data,
                known_bad: told.known_bad,
            },
            notes: Vec::new(),
            images: Some(images),
        })
    }

    /// The settings with which the run goes on.
    pub fn config(&self) -> &Plan {
        &self.config
    }

    /// The run as its checkpoint left it, on `dataset`, which is what its images are now.
    ///
    /// # Errors
    /// [`TrainError`] when these are not the images that the run began with, or the state does not
    /// fit its configuration.
    pub fn trainer(
        mut self,
        run: &RunDir,
        dataset: Arc<Dataset>,
        device: &Device,
        options: TrainerOptions,
    ) -> Result<Trainer, TrainError> {
        let meta = self.checkpoint.meta();
        let same = meta.data_fingerprint == dataset.fingerprint();
        let anew = !same && self.changed.accept_new_data;
        let dataset = match same {
            true => dataset,
            false if anew => self.taken_anew(dataset)?,
            false => self.remembered(run, dataset)?,
        };
        let mut trainer = Trainer::new(&self.config, dataset, device, options)?;
        self.checkpoint.restore(&mut trainer.state(), device)?;
        let meta = self.checkpoint.meta();
        trainer.step = meta.step;
        if !anew {
            trainer.epoch_loss = meta.epoch_loss;
            trainer.epoch_steps = meta.step % trainer.steps_per_epoch;
        }
        trainer.images_changed = anew;
        trainer.notes = self.notes;
        Ok(trainer)
    }

    /// The data set as it is now in the place of the one that the run began with.
    fn taken_anew(&mut self, dataset: Arc<Dataset>) -> Result<Arc<Dataset>, TrainError> {
        if self.config.spec().profile().remembers {
            let name = self.config.method.name().to_owned();
            return Err(TrainError::ImagesRemembered(name));
        }
        self.notes.push(format!(
            "the images are taken as they are now, {} of them: their order and the steps of an \
             epoch are no longer those that the run began with",
            dataset.len()
        ));
        Ok(dataset)
    }

    /// The data set in the order that the run began with, if not too much of it is gone.
    fn remembered(
        &mut self,
        run: &RunDir,
        dataset: Arc<Dataset>,
    ) -> Result<Arc<Dataset>, TrainError> {
        let changed = || TrainError::DataChanged(self.config.data.path.clone());
        let expected = self.checkpoint.meta().data_fingerprint;
        let list = match &self.images {
            Some(told) => FileList::read(told.as_slice()).ok(),
            None => run.read_images(),
        };
        let list = list.filter(|list| list.fingerprint() == expected);
        let list = list.ok_or_else(changed)?;
        let (dataset, changes) = dataset.in_order_of(list).ok_or_else(changed)?;
        self.check_gone(&dataset, &changes)?;
        self.notes.extend(told(&dataset, &changes));
        Ok(Arc::new(dataset))
    }

    fn check_gone(&self, dataset: &Dataset, changes: &Changes) -> Result<(), TrainError> {
        let known = |i: &&usize| self.changed.known_bad.contains(dataset.name(**i));
        let unknown: Vec<&usize> = changes.gone.iter().filter(|i| !known(i)).collect();
        let share = self.config.data.max_bad_share.max(MAX_GONE_SHARE);
        let (count, images) = (unknown.len(), dataset.len());
        match unknown.first() {
            Some(&&first) if count > allowed_bad(share, images) || changes.gone.len() == images => {
                let example = dataset.name(first).to_owned();
                Err(TrainError::ImagesGone { count, images, example, share })
            }
            _ => Ok(()),
        }
    }
}

/// The settings that may change and that `config.toml` has other values for than the checkpoint's;
/// what it says of others is told.
fn edited(
    run: &RunDir,
    kept: &Plan,
    notes: &mut Vec<String>,
) -> Result<Vec<Difference>, TrainError> {
    let path = run.config();
    let read = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is gone".into(),
        _ => format!("cannot be read ({error})"),
    });
    let parsed =
        read.and_then(|text| parse_run(&text).map_err(|e| format!("makes no sense ({e})")));
    let config = match parsed {
        Ok(config) => config,
        Err(why) => {
            notes.push(format!("{} {why}: written anew from the checkpoint", path.display()));
            return Ok(Vec::new());
        }
    };
    let (taken, refused): (Vec<_>, Vec<_>) =
        differences(kept, &config)?.into_iter().partition(Difference::may_change);
    notes.extend(taken.iter().map(|difference| told_difference(&path, difference, "taken over")));
    let stays = "the checkpoint's stays, as a run cannot change it: start a new run for another";
    notes.extend(refused.iter().map(|difference| told_difference(&path, difference, stays)));
    Ok(taken)
}

fn told_difference(path: &Path, difference: &Difference, outcome: &str) -> String {
    let value = |value: &Option<Value>| match value {
        Some(value) => format!("{} = {value}", difference.key),
        None => format!("no {}", difference.key),
    };
    format!(
        "{} says {}, the checkpoint {}: {outcome}",
        path.display(),
        value(&difference.second),
        value(&difference.first)
    )
}

/// What has changed about the images, a sentence for each kind of change.
fn told(dataset: &Dataset, changes: &Changes) -> Vec<String> {
    let (images, mut notes) = (dataset.len(), Vec::new());
    if let Some(&first) = changes.gone.first() {
        notes.push(format!(
            "{} of the {images} images are gone since the run began, such as {}: others stand in \
             for them",
            changes.gone.len(),
            dataset.name(first)
        ));
    }
    if let (count, Some(example)) = &changes.resized {
        notes.push(format!(
            "{count} of the {images} images have another size than when the run began, such as \
             {example}: they are read as they are now"
        ));
    }
    if let (count, Some(example)) = &changes.added {
        notes.push(format!(
            "{count} images are new since the run began, such as {example}: they are left out; \
             --accept-new-data takes them"
        ));
    }
    notes
}
