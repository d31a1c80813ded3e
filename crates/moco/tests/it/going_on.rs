//! Runs that go on after something went wrong: with a file, with the images, with the weights.

use crate::device::device;
use crate::runs::{Recorder, config, dataset, options, state, untrained};
use moco::eval::{EvalError, features};
use moco::export::{read_origin, save_encoder};
use moco::nn::{Leaf, Module, for_each_leaf};
use moco::plan::{Plan, parse_run};
use moco::run::RunDir;
use moco::train::{Changed, Event, Observer, Resume, TrainError, Trainer};
use moco_data::{DataError, Dataset, Image, save_png};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

const NO_MONITOR: &str = "monitor.knn_epochs=0";

/// A folder of images of which some are none.
struct Photos {
    _place: TempDir,
    folder: PathBuf,
}

impl Photos {
    fn new(count: usize, bad: &[usize]) -> Photos {
        let place = tempfile::tempdir().unwrap();
        let photos = Photos { folder: place.path().join("photos"), _place: place };
        fs::create_dir(&photos.folder).unwrap();
        (0..count).for_each(|i| photos.draw(i));
        for &i in bad {
            fs::write(photos.path(i), b"no image").unwrap();
        }
        photos
    }

    fn path(&self, i: usize) -> PathBuf {
        self.folder.join(format!("{i:03}.png"))
    }

    fn draw(&self, i: usize) {
        let value = |k: usize| ((i * 37 + k * (i % 5 + 1) * 3) % 256) as u8;
        let image = Image::new(16, 16, (0..16 * 16 * 3).map(value).collect());
        save_png(&image, &self.path(i)).unwrap();
    }

    fn open(&self) -> Arc<Dataset> {
        Arc::new(Dataset::open(&self.folder).unwrap())
    }
}

/// Everything that is said.
#[derive(Default)]
struct Words(Vec<String>);

impl Observer for Words {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Note(text) | Event::Warning(text) => self.0.push(text.clone()),
            Event::BadFile { name, reason } => self.0.push(format!("{name}: {reason}")),
            _ => {}
        }
    }
}

impl Words {
    #[track_caller]
    fn tell(&self, parts: &[&str]) {
        let told = |words: &String| parts.iter().all(|part| words.contains(part));
        assert!(self.0.iter().any(told), "{parts:?} in {:#?}", self.0);
    }
}

fn start(config: &Plan, images: &Arc<Dataset>) -> Trainer {
    Trainer::new(config, images.clone(), &device(), options(1)).unwrap()
}

fn go_on(run: &RunDir, images: Arc<Dataset>, changed: Changed) -> Result<Trainer, TrainError> {
    Resume::open(run, changed)?.trainer(run, images, &device(), options(1))
}

fn train(trainer: &mut Trainer, run: &RunDir) -> Result<Words, TrainError> {
    let mut words = Words::default();
    trainer.run(run, &mut words, &AtomicBool::new(false)).map(|_| words)
}

fn settings(list: &[&str]) -> Changed {
    Changed { settings: list.iter().map(|text| text.to_string()).collect(), ..Changed::default() }
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// The newest checkpoint has a wrong bit: it is named, and the run goes on from the one before to
/// the same end.
#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_taken() {
    let data = dataset(64);
    let config =
        config(&data, &["train.checkpoint_steps=2", "train.keep_checkpoints=9", NO_MONITOR]);
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut whole = start(&config, &data);
    train(&mut whole, &RunDir::at(straight.path())).unwrap();

    let run = RunDir::at(broken.path());
    let mut first = start(&config, &data);
    Recorder::stopping_after(6).train(&mut first, broken.path()).unwrap();
    flip_a_bit(&run.checkpoint(6));
    let mut second = go_on(&run, data.clone(), Changed::default()).unwrap();
    assert_eq!(second.facts().first_step, 4);
    let words = train(&mut second, &run).unwrap();
    words.tell(&["step-00000006", "is damaged", "checksum", "the one before is taken"]);
    assert_eq!(state(&mut whole), state(&mut second));
    assert!(run.checkpoint(6).exists() && run.checkpoint(6).with_extension("damaged").exists());
    let encoder = |dir: &TempDir| fs::read(RunDir::at(dir.path()).encoder()).unwrap();
    assert!(encoder(&straight) == encoder(&broken));

    run.list_checkpoints().unwrap().iter().for_each(|path| flip_a_bit(path));
    let error = go_on(&run, data, Changed::default()).err().unwrap().to_string();
    assert!(error.contains("step-00000012") && error.contains("--out"), "{error}");
}

/// As a kill between two renames leaves it, or a full disk, or a person: also of a finished run.
#[test]
fn a_run_that_goes_on_brings_its_encoder_up_to_its_checkpoint() {
    let data = dataset(64);
    let config = config(&data, &["train.max_steps=4", NO_MONITOR]);
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    train(&mut start(&config, &data), &run).unwrap();
    let right = fs::read(run.encoder()).unwrap();
    let origin = read_origin(&run.encoder()).unwrap().unwrap();
    assert_eq!((origin.step, parse_run(&origin.config).unwrap()), (4, config.clone()));

    let other = tempfile::tempdir().unwrap();
    let earlier = RunDir::at(other.path());
    Recorder::stopping_after(2).train(&mut start(&config, &data), other.path()).unwrap();
    let earlier = fs::read(earlier.encoder()).unwrap();
    assert!(earlier != right);
    let plain = other.path().join("plain.safetensors");
    save_encoder(untrained(&config).encoder.as_mut(), &plain).unwrap();
    let plain = fs::read(plain).unwrap();

    let found: [Option<&[u8]>; 5] =
        [None, Some(&earlier), Some(&right[..50]), Some(&plain), Some(b"")];
    for bytes in found {
        match bytes {
            Some(bytes) => fs::write(run.encoder(), bytes).unwrap(),
            None => fs::remove_file(run.encoder()).unwrap(),
        }
        let leftover = run.encoder().with_extension("tmp");
        fs::write(&leftover, b"half").unwrap();
        let mut again = go_on(&run, data.clone(), Changed::default()).unwrap();
        train(&mut again, &run).unwrap();
        assert!(fs::read(run.encoder()).unwrap() == right);
        assert!(!leftover.exists());
    }
}

/// Too many bad files stop the run; each mend that the message names lets it go on.
#[test]
fn every_mend_of_bad_files_works() {
    let bad = [3, 9, 20, 31, 40, 51, 60, 62];
    let begun = |photos: &Photos| {
        let images = photos.open();
        let config = config(&images, &["train.epochs=3", NO_MONITOR]);
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::at(place.path());
        let error = train(&mut start(&config, &images), &run).err().unwrap();
        let TrainError::Images { source, step, mend } = &error else { panic!("{error}") };
        assert!(matches!(&**source, DataError::TooManyBad { .. }), "{source}");
        assert_eq!(run.list_checkpoints().unwrap(), [run.checkpoint(*step)], "saved");
        assert!(mend.contains("--resume") && mend.contains("data.max_bad_share="), "{mend}");
        (place, run, error.to_string())
    };
    let finish = |run: &RunDir, photos: &Photos, changed: Changed| {
        let mut trainer = go_on(run, photos.open(), changed).unwrap();
        let words = train(&mut trainer, run).unwrap();
        (state(&mut trainer), words)
    };

    let photos = Photos::new(64, &bad);
    let images = photos.open();
    let all_allowed = config(&images, &["data.max_bad_share=1", NO_MONITOR]);
    let place = tempfile::tempdir().unwrap();
    let mut straight = start(&all_allowed, &images);
    train(&mut straight, &RunDir::at(place.path())).unwrap();
    let expected = state(&mut straight);

    let (_raised, run, message) = begun(&photos);
    assert!(message.contains("repair or remove them, or raise data.max_bad_share"), "{message}");
    let (raised, words) = finish(&run, &photos, settings(&["data.max_bad_share=0.5"]));
    assert!(expected == raised, "a run that stopped and went on is one that never stopped");
    words.tell(&["003.png: "]);
    let (checkpoint, _) = run.latest().unwrap();
    assert!(checkpoint.meta().config.contains("max_bad_share = 0.5"));

    let (_removed, run, _) = begun(&photos);
    bad.iter().for_each(|&i| fs::remove_file(photos.path(i)).unwrap());
    let known_bad = bad.iter().map(|i| format!("{i:03}.png")).collect::<HashSet<_>>();
    let (removed, words) = finish(&run, &photos, Changed { known_bad, ..Changed::default() });
    assert!(expected == removed, "what is gone is stood in for as what was damaged");
    words.tell(&["8 of the 64 images are gone", "003.png"]);

    let photos = Photos::new(64, &bad);
    let (_repaired, run, _) = begun(&photos);
    bad.iter().for_each(|&i| photos.draw(i));
    let (_, words) = finish(&run, &photos, Changed::default());
    words.tell(&["8 of the 64 images have another size", "003.png"]);
}

/// Images that no one called bad are gone: a few are stood in for, many are an error.
#[test]
fn images_that_are_gone_are_told_and_too_many_are_refused() {
    let photos = Photos::new(64, &[]);
    let images = photos.open();
    let config = config(&images, &["train.epochs=2", NO_MONITOR]);
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    Recorder::stopping_after(2).train(&mut start(&config, &images), place.path()).unwrap();
    (0..3).for_each(|i| fs::remove_file(photos.path(i)).unwrap());
    photos.draw(500);
    let mut trainer = go_on(&run, photos.open(), Changed::default()).unwrap();
    assert_eq!(trainer.facts().images, 64);
    let words = train(&mut trainer, &run).unwrap();
    words.tell(&["3 of the 64 images are gone", "000.png"]);
    words.tell(&["1 images are new", "500.png", "--accept-new-data"]);

    (3..20).for_each(|i| fs::remove_file(photos.path(i)).unwrap());
    let error = go_on(&run, photos.open(), Changed::default()).err().unwrap().to_string();
    let parts = ["20 of the 64 images are gone", "data.max_bad_share", "--accept-new-data"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    go_on(&run, photos.open(), settings(&["data.max_bad_share=0.4"])).unwrap();

    let anew = || Changed { accept_new_data: true, ..Changed::default() };
    let mut trainer = go_on(&run, photos.open(), anew()).unwrap();
    assert_eq!((trainer.facts().images, trainer.facts().steps_per_epoch), (45, 2));
    let words = train(&mut trainer, &run).unwrap();
    words.tell(&["taken as they are now", "45"]);
}

#[test]
fn new_images_once_taken_are_the_runs_own() {
    let photos = Photos::new(48, &[]);
    let images = photos.open();
    let config = config(&images, &["train.epochs=3", NO_MONITOR]);
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    Recorder::stopping_after(2).train(&mut start(&config, &images), place.path()).unwrap();
    (48..64).for_each(|i| photos.draw(i));
    let changed = Changed { accept_new_data: true, ..Changed::default() };
    let mut trainer = go_on(&run, photos.open(), changed).unwrap();
    Recorder::stopping_after(5).train(&mut trainer, place.path()).unwrap();
    let mut trainer = go_on(&run, photos.open(), Changed::default()).unwrap();
    assert_eq!((trainer.facts().images, trainer.facts().first_step), (64, 5));
    let words = train(&mut trainer, &run).unwrap();
    assert!(!words.0.iter().any(|words| words.contains("new since")), "{:?}", words.0);
}

/// A method whose memory is one row for each image cannot be given others.
#[test]
fn a_method_that_remembers_images_refuses_others() {
    let photos = Photos::new(48, &[]);
    let images = photos.open();
    let mut tree = moco::plan::load_recipe("instdisc-small").unwrap();
    for set in [
        "data.path='x'",
        "model.width=4",
        "method.dim=16",
        "method.loss=softmax",
        "train.batch_size=16",
        NO_MONITOR,
    ] {
        moco::plan::set_value(&mut tree, set).unwrap();
    }
    let facts = moco::config::DataFacts::of(&images).unwrap();
    let config = moco::plan::resolve(&tree, &facts).unwrap().config;
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    Recorder::stopping_after(1).train(&mut start(&config, &images), place.path()).unwrap();
    photos.draw(70);
    let changed = Changed { accept_new_data: true, ..Changed::default() };
    let error = go_on(&run, photos.open(), changed).err().unwrap().to_string();
    assert!(error.contains("instdisc remembers every image"), "{error}");
    go_on(&run, photos.open(), Changed::default()).unwrap();
}

/// `config.toml` was edited: what may change is taken, the rest is told and not taken.
#[test]
fn an_edited_configuration_is_told() {
    let data = dataset(64);
    let config = config(&data, &[NO_MONITOR]);
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    let text = config.to_toml().unwrap();
    fs::write(run.config(), &text).unwrap();
    Recorder::stopping_after(2).train(&mut start(&config, &data), place.path()).unwrap();

    let edited = config.changed(|run| (run.optim.lr, run.train.log_steps) = (0.75, 17)).unwrap();
    fs::write(run.config(), edited.to_toml().unwrap()).unwrap();
    let mut trainer = go_on(&run, data.clone(), settings(&["train.keep_checkpoints=4"])).unwrap();
    let settled = trainer.config().clone();
    assert_eq!((settled.optim.lr, settled.train.log_steps), (config.optim.lr, 17));
    assert_eq!(settled.train.keep_checkpoints, 4);
    let words = train(&mut trainer, &run).unwrap();
    words.tell(&["config.toml says optim.lr = 0.75, the checkpoint", "cannot change"]);
    words.tell(&["config.toml says train.log_steps = 17", "taken over"]);

    for broken in ["[train]\nepo", ""] {
        fs::write(run.config(), broken).unwrap();
        let mut trainer = go_on(&run, data.clone(), Changed::default()).unwrap();
        assert_eq!(trainer.config(), &settled);
        train(&mut trainer, &run).unwrap().tell(&["config.toml makes no sense", "written anew"]);
    }
    let refused = go_on(&run, data, settings(&["optim.lr=0.5"])).err().unwrap().to_string();
    assert!(refused.starts_with("`optim.lr` cannot change"), "{refused}");
}

/// The last step breaks the weights after its loss was found right.
#[test]
fn broken_weights_are_not_saved() {
    for monitor in [NO_MONITOR, "monitor.knn_epochs=1"] {
        let all = ["optim.lr=1e30", "optim.schedule.kind=constant", "train.epochs=1", monitor];
        // One step, which ends the run, and at an epoch's end the monitor as well.
        let few = dataset(16);
        let config = config(&few, &all);
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::at(place.path());
        let error = train(&mut start(&config, &few), &run).err().unwrap();
        assert!(matches!(error, TrainError::BrokenWeights { step: 1, .. }), "{error}");
        assert!(error.to_string().contains("no checkpoint was written yet"), "{error}");
        assert!(run.list_checkpoints().unwrap().is_empty() && !run.encoder().exists());
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_names_the_last_checkpoint() {
    let data = dataset(64);
    let config = config(&data, &["train.max_steps=2", NO_MONITOR]);
    let place = tempfile::tempdir().unwrap();
    let run = RunDir::at(place.path());
    let mut trainer = start(&config, &data);
    Recorder::stopping_after(1).train(&mut trainer, place.path()).unwrap();
    let encoder = fs::read(run.encoder()).unwrap();
    let mut again = go_on(&run, data.clone(), Changed::default()).unwrap();
    poison(again.method());
    let error = train(&mut again, &run).err().unwrap();
    assert!(matches!(error, TrainError::NonFinite { step: 1, .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains(&run.checkpoint(1).display().to_string()), "{error}");
    assert!(fs::read(run.encoder()).unwrap() == encoder, "the good one stays");
}

/// Makes the first layers' weights no numbers.
pub fn poison(module: &mut dyn Module) {
    for_each_leaf(module, |name, leaf| {
        if let (true, Leaf::Param(tensor)) = (name.ends_with("conv1.weight"), leaf) {
            let values = tensor.flat() * f32::NAN;
            tensor.set_flat(values);
        }
    });
}

#[test]
fn features_that_are_no_numbers_are_an_error() {
    let data = dataset(40);
    let config = config(&data, &[]);
    let mut frozen = untrained(&config);
    poison(frozen.encoder.as_mut());
    let found = features(&mut frozen, &data, config.monitor.knn_feature, 1, &mut |_, _| ());
    let error = found.err().unwrap();
    assert!(matches!(&error, EvalError::NotFinite { count: 40, images: 40, .. }), "{error}");
    assert!(error.to_string().contains("40 of 40 images"), "{error}");

    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("encoder.safetensors");
    let refused = save_encoder(frozen.encoder.as_mut(), &path);
    assert!(refused.unwrap_err().to_string().contains("conv1.weight") && !path.exists());

    // As another program, or an early version of this one, may have written it.
    save_encoder(untrained(&config).encoder.as_mut(), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let broken: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, view)| {
            let mut data = view.data().to_vec();
            if name.ends_with("conv1.weight") {
                data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            (name.to_owned(), view.shape().to_vec(), data)
        })
        .collect();
    let views = broken.iter().map(|(name, shape, data)| {
        let dtype = safetensors::tensor::Dtype::F32;
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), data).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let error = untrained(&config).load(&path).unwrap_err().to_string();
    assert!(error.contains("conv1.weight") && error.contains("no finite numbers"), "{error}");
}

/// What a run leaves that was killed in its first instants is taken over; what a person has put
/// there is not.
#[test]
fn a_folder_without_anything_of_value_is_taken_over() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("config.toml", "[method]\nna");
    write("config.tmp", "[met");
    write("metrics.jsonl", "");
    write("events.out.tfevents.0000000001.1.moco", "x");
    write("checkpoints/step-00000001.tmp", "half");
    RunDir::create(&folder).unwrap();
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, [".lock"]);

    let data = dataset(64);
    let config = config(&data, &[]).to_toml().unwrap();
    for (name, text, told) in [
        ("config.toml", config.as_str(), "already holds a run"),
        ("checkpoints/step-00000001.safetensors", "x", "already holds a run"),
        ("thesis.tex", "x", "is not empty"),
        ("encoder.safetensors", "x", "is not empty"),
        ("thesis.tmp", "x", "is not empty"),
    ] {
        fs::remove_dir_all(&folder).unwrap();
        write(name, text);
        write("run.log", "x");
        let error = RunDir::create(&folder).err().unwrap().to_string();
        assert!(error.contains(told), "{name}: {error}");
        assert!(folder.join(name).exists() && folder.join("run.log").exists(), "{name}");
    }
}
