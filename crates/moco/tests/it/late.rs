//! Losses that are read some steps late, as those of a GPU are.

use crate::device::device;
use crate::going_on::poison;
use crate::runs::{Recorder, config, dataset, options, state};
use moco::run::RunDir;
use moco::train::{TrainError, Trainer};
use std::fs;

/// Epochs of 7 steps, checkpoints every 5, an end after 17: losses are read in groups of 4, and fewer before
/// a checkpoint, an epoch's end and the end.
const PAUSES: [&str; 3] =
    ["train.checkpoint_steps=5", "train.max_steps=17", "train.keep_checkpoints=9"];

#[test]
fn a_run_that_reads_losses_late_is_the_same_to_the_bit() {
    let data = dataset(112);
    for more in ["optim.accumulate=1", "optim.accumulate=2"] {
        let config = config(&data, &[PAUSES.as_slice(), &[more]].concat());
        let run = |late, stop_after| {
            let place = tempfile::tempdir().unwrap();
            let mut recorder = if late { Recorder::reading_late() } else { Recorder::default() };
            recorder.stop_after = stop_after;
            let new = Trainer::new(&config, data.clone(), &device(), options(2));
            let mut trainer = new.unwrap();
            recorder.train(&mut trainer, place.path()).unwrap();
            if recorder.stop_after.take().is_some() {
                let run = RunDir::at(place.path());
                let resumed = Trainer::resume(&run, data.clone(), &device(), options(1));
                trainer = resumed.unwrap();
                recorder.train(&mut trainer, place.path()).unwrap();
            }
            let told: Vec<_> = recorder.steps().iter().map(|s| (s.step, s.epoch, s.lr)).collect();
            let metrics: Vec<_> = recorder.steps().iter().map(|s| s.metrics.clone()).collect();
            let epochs: Vec<_> = recorder.epochs().iter().map(|e| (e.loss, e.knn, e.lr)).collect();
            let saved = RunDir::at(place.path()).list_checkpoints().unwrap();
            let saved: Vec<_> = saved.iter().map(|path| fs::read(path).unwrap()).collect();
            assert!(recorder.steps().iter().all(|s| s.seconds > 0.0 && s.data_wait >= 0.0));
            (told, metrics, epochs, recorder.losses(), state(&mut trainer), saved)
        };
        let at_once = run(false, None);
        assert!(at_once.0.iter().map(|(step, ..)| *step).eq(1..=17));
        assert!(at_once == run(true, None), "{more}");
        let stopped = run(true, Some(9));
        // It stopped after the group in which the ninth step was, where it has another checkpoint.
        assert!(
            at_once.0 == stopped.0 && at_once.1 == stopped.1 && at_once.3 == stopped.3,
            "{more}"
        );
        assert!(at_once.2 == stopped.2 && at_once.4 == stopped.4, "{more}");
    }
}

/// The weights move three times with gradients of a loss that is no number, and nothing of it is saved.
#[test]
fn a_loss_that_is_no_number_is_found_before_anything_is_saved() {
    let data = dataset(160);
    let config = config(&data, &["train.checkpoint_steps=3", "train.max_steps=8"]);
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    let mut trainer = Trainer::new(&config, data.clone(), &device(), options(1)).unwrap();
    Recorder::stopping_after(3).train(&mut trainer, place.path()).unwrap();
    let encoder = fs::read(run.encoder()).unwrap();
    let mut again = Trainer::resume(&run, data, &device(), options(1)).unwrap();
    poison(again.method());
    let mut late = Recorder::reading_late();
    let error = late.train(&mut again, place.path()).unwrap_err();
    assert!(matches!(error, TrainError::NonFinite { step: 3, .. }), "{error}");
    assert!(error.to_string().contains(&run.checkpoint(3).display().to_string()), "{error}");
    assert!(late.steps().is_empty() && run.list_checkpoints().unwrap() == [run.checkpoint(3)]);
    assert!(fs::read(run.encoder()).unwrap() == encoder, "the good one stays");
}
