//! Small runs from end to end: training, stopping, resuming, exporting.

use crate::device::device;
use moco::batch::to_host;
use moco::config::{DataFacts, FeatureKind};
use moco::eval::{FrozenEncoder, features, knn};
use moco::nn::tensors;
use moco::plan::{self, Plan, load_recipe, resolve, set_value};
use moco::run::RunDir;
use moco::train::{EpochReport, Event, Observer, StepReport, TrainError, Trainer, TrainerOptions};
use moco_data::Dataset;
use moco_data::synthetic::{SHAPE_CLASSES, shapes};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn dataset(images: usize) -> Arc<Dataset> {
    let names = SHAPE_CLASSES.iter().map(|name| name.to_string()).collect();
    Arc::new(Dataset::from_images(shapes(images, 16, 7), names))
}

/// Four steps of 16 images in each of three epochs, on a network of width 4.
pub fn config(dataset: &Dataset, overrides: &[&str]) -> Plan {
    let mut tree = load_recipe("moco-v1-small").expect("an embedded recipe");
    plan::set(&mut tree, "data.path", "in-memory".into()).unwrap();
    let small = [
        "model.width=4",
        "model.bn_groups=2",
        "method.queue=40",
        "method.dim=16",
        "train.batch_size=16",
        "train.epochs=3",
        "train.log_steps=1",
        r#"data.views=["crop(16, 0.2..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) normalize(cifar10)", "crop(16, 0.2..1) flip normalize(cifar10)"]"#,
        r#"data.eval_view="resize(16) center(16) normalize(cifar10)""#,
    ];
    for assignment in small.iter().chain(overrides) {
        set_value(&mut tree, assignment).unwrap();
    }
    resolve(&tree, &DataFacts::of(dataset).unwrap()).expect("a valid configuration").config
}

pub fn untrained(config: &Plan) -> FrozenEncoder {
    let device = device();
    FrozenEncoder::new(config.encoder(&device), config.eval_view().clone(), &device)
}

pub fn options(threads: usize) -> TrainerOptions {
    TrainerOptions { threads, cache_mb: 16 }
}

/// Records what happens, and asks for a stop after a given step.
#[derive(Default)]
pub struct Recorder {
    steps: Vec<StepReport>,
    epochs: Vec<EpochReport>,
    pub stop_after: Option<usize>,
    /// Whether losses are read late, so that a stop comes after later steps than it was asked for.
    late: bool,
    stop: AtomicBool,
}

struct Watch<'a>(&'a mut Vec<StepReport>, &'a mut Vec<EpochReport>, Option<usize>, &'a AtomicBool);

impl Observer for Watch<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Step(report) => {
                self.0.push(report.clone());
                if Some(report.step) == self.2 {
                    self.3.store(true, Ordering::Relaxed);
                }
            }
            Event::Epoch(report) => self.1.push(report.clone()),
            _ => {}
        }
    }
}

impl Recorder {
    pub fn stopping_after(step: usize) -> Self {
        Self { stop_after: Some(step), ..Self::default() }
    }

    pub fn reading_late() -> Self {
        Self { late: true, ..Self::default() }
    }

    pub fn train(&mut self, trainer: &mut Trainer, dir: &Path) -> Result<(), TrainError> {
        let Self { steps, epochs, stop_after, late, stop } = self;
        stop.store(false, Ordering::Relaxed);
        trainer.read_late(*late);
        let mut watch = Watch(steps, epochs, *stop_after, stop);
        trainer.run(&RunDir::at(dir), &mut watch, stop).map(|_| ())
    }

    pub fn steps(&self) -> &[StepReport] {
        &self.steps
    }

    pub fn epochs(&self) -> &[EpochReport] {
        &self.epochs
    }

    pub fn losses(&self) -> Vec<f64> {
        self.steps.iter().map(|step| step.loss).collect()
    }

    /// The deviation of the embeddings of each step.
    pub fn deviations(&self) -> Vec<f64> {
        let of = |step: &StepReport| {
            step.metrics.iter().find(|(name, _)| *name == "feature_std").map(|(_, std)| *std)
        };
        self.steps.iter().map(|step| of(step).expect("feature_std")).collect()
    }
}

pub fn state(trainer: &mut Trainer) -> Vec<(String, Vec<f32>)> {
    let all = tensors(trainer.method());
    all.into_iter().map(|(name, values)| (name, to_host(values))).collect()
}

/// N+M steps equal N, stop, resume, M: every loss, every tensor, every epoch's mean loss, with
/// another number of decoding threads after the resume.
#[test]
fn resume_is_exact_to_the_bit() {
    let data = dataset(64);
    let config = config(&data, &[]);
    let device = device();
    let (straight_dir, broken_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());

    let mut straight = Recorder::default();
    let mut trainer = Trainer::new(&config, data.clone(), &device, options(2)).unwrap();
    straight.train(&mut trainer, straight_dir.path()).unwrap();
    let expected = state(&mut trainer);

    let mut broken = Recorder::stopping_after(6);
    let mut first = Trainer::new(&config, data.clone(), &device, options(2)).unwrap();
    broken.train(&mut first, broken_dir.path()).unwrap();
    assert_eq!(broken.steps.len(), 6, "stops in the middle of the second epoch");
    drop(first);
    let run = RunDir::at(broken_dir.path());
    let mut second = Trainer::resume(&run, data, &device, options(1)).unwrap();
    broken.stop_after = None;
    broken.train(&mut second, broken_dir.path()).unwrap();

    assert_eq!(straight.losses().len(), 12);
    assert_eq!(straight.losses(), broken.losses());
    assert_eq!(expected, state(&mut second));
    let means = |recorder: &Recorder| {
        let told = |e: &EpochReport| (e.loss, e.knn, e.probe, e.quality);
        recorder.epochs.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(means(&straight), means(&broken));
    let measured = |e: &EpochReport| e.knn.is_some() && e.probe.is_some() && e.quality.is_some();
    assert!(straight.epochs.iter().all(measured));
    let encoder = |dir: &Path| std::fs::read(dir.join("encoder.safetensors")).unwrap();
    assert_eq!(encoder(straight_dir.path()), encoder(broken_dir.path()));
}

/// What is watched, and how often, moves no bit of what is learnt.
#[test]
fn monitors_do_not_change_what_is_learnt() {
    let data = dataset(64);
    let learnt = |monitors: &[&str]| {
        let mut recorder = Recorder::default();
        let dir = tempfile::tempdir().unwrap();
        let config = config(&data, monitors);
        let mut trainer = Trainer::new(&config, data.clone(), &device(), options(2)).unwrap();
        recorder.train(&mut trainer, dir.path()).unwrap();
        (recorder.losses(), state(&mut trainer), recorder.epochs)
    };
    let nothing = ["monitor.knn_epochs=0", "monitor.probe=false", "monitor.quality_epochs=0"];
    let (losses, weights, silent) = learnt(&nothing);
    assert!(silent.iter().all(|e| e.knn.is_none() && e.probe.is_none() && e.quality.is_none()));
    let all = ["monitor.knn_epochs=1", "monitor.quality_epochs=2", "monitor.quality_images=33"];
    let (watched_losses, watched_weights, told) = learnt(&all);
    assert_eq!(losses, watched_losses);
    assert_eq!(weights, watched_weights);
    let images: Vec<_> = told.iter().map(|e| e.quality.map(|quality| quality.images)).collect();
    assert_eq!(images, [None, Some(33), Some(33)], "every second epoch, and the last");
    let quality = told[2].quality.unwrap();
    let inside = |value: f64| value >= 1.0 && value <= quality.dim as f64;
    assert!(inside(quality.rank_me) && inside(quality.lidar), "{quality:?}");
    assert!((0.0..4.0).contains(&quality.alignment) && quality.uniformity < 0.0, "{quality:?}");
}

#[test]
fn another_seed_is_another_run() {
    let data = dataset(64);
    let losses = |seed: &str| {
        let config = config(&data, &[seed, "train.max_steps=2", "monitor.knn_epochs=0"]);
        let mut recorder = Recorder::default();
        let dir = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(&config, data.clone(), &device(), options(1)).unwrap();
        recorder.train(&mut trainer, dir.path()).unwrap();
        recorder.losses()
    };
    assert_eq!(losses("train.seed=1"), losses("train.seed=1"));
    assert_ne!(losses("train.seed=1"), losses("train.seed=2"));
}

/// A run that was killed leaves at worst a temporary file, which does not count.
#[test]
fn an_interrupted_write_is_ignored() {
    let data = dataset(64);
    let config = config(&data, &["train.max_steps=3", "monitor.knn_epochs=0"]);
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(&config, data.clone(), &device(), options(1)).unwrap();
    Recorder::default().train(&mut trainer, dir.path()).unwrap();
    let run = RunDir::at(dir.path());
    let half = std::fs::read(run.checkpoint(3)).unwrap();
    std::fs::write(run.checkpoint(9).with_extension("tmp"), &half[..half.len() / 2]).unwrap();
    let resumed = Trainer::resume(&run, data.clone(), &device(), options(1));
    assert_eq!(resumed.unwrap().facts().first_step, 3);

    std::fs::write(run.checkpoint(9), &half[..half.len() / 2]).unwrap();
    let resumed = Trainer::resume(&run, data.clone(), &device(), options(1));
    assert_eq!(resumed.unwrap().facts().first_step, 3);
    std::fs::write(run.checkpoint(3), &half[..half.len() / 2]).unwrap();
    let text = Trainer::resume(&run, data, &device(), options(1)).err().unwrap().to_string();
    assert!(text.contains("step-00000003") && text.contains("--out"), "{text}");
}

#[test]
fn a_changed_data_set_is_refused() {
    let data = dataset(64);
    let config = config(&data, &["train.max_steps=1", "monitor.knn_epochs=0"]);
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(&config, data, &device(), options(1)).unwrap();
    Recorder::default().train(&mut trainer, dir.path()).unwrap();
    // As in the folder of an early version.
    std::fs::remove_file(RunDir::at(dir.path()).images()).unwrap();
    let other = dataset(80);
    let error = Trainer::resume(&RunDir::at(dir.path()), other, &device(), options(1));
    assert!(matches!(error.err(), Some(TrainError::DataChanged(_))));
}

#[test]
fn old_checkpoints_are_pruned() {
    let data = dataset(64);
    let config = config(
        &data,
        &["train.checkpoint_steps=1", "train.keep_checkpoints=3", "monitor.knn_epochs=0"],
    );
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(&config, data, &device(), options(1)).unwrap();
    Recorder::default().train(&mut trainer, dir.path()).unwrap();
    let run = RunDir::at(dir.path());
    let expected: Vec<_> = (10..=12).map(|step| run.checkpoint(step)).collect();
    assert_eq!(run.list_checkpoints().unwrap(), expected);
}

#[test]
fn the_exported_encoder_gives_the_features_of_the_trained_one() {
    let data = dataset(64);
    let config = config(&data, &["train.max_steps=4"]);
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let mut trainer = Trainer::new(&config, data.clone(), &device, options(1)).unwrap();
    let mut recorder = Recorder::default();
    recorder.train(&mut trainer, dir.path()).unwrap();

    let encode = |mut frozen: FrozenEncoder, kind| {
        features(&mut frozen, &data, kind, 2, &mut |_, _| ()).unwrap()
    };
    let path = RunDir::at(dir.path()).encoder();
    let load = || {
        let mut frozen = untrained(&config);
        frozen.load(&path).unwrap();
        frozen
    };
    let mut copied = untrained(&config);
    copied.copy_from(trainer.method().encoder());
    let (loaded, copied) = (encode(load(), FeatureKind::Head), encode(copied, FeatureKind::Head));
    assert_eq!(loaded.values, copied.values);

    // What the monitor reported is what an evaluation of the file gives.
    let all = encode(load(), config.monitor.knn_feature);
    let held_out = |row: usize| row.is_multiple_of(10);
    let (bank, queries) = (all.filter(|row| !held_out(row)), all.filter(held_out));
    let accuracy = knn(&bank, &queries, config.monitor.knn_k, config.monitor.knn_temperature);
    assert_eq!(recorder.epochs.last().unwrap().knn, Some(accuracy.top1));
}
