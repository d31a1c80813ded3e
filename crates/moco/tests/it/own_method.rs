//! A method that the library does not know goes through training, monitors, checkpoints and encoder
//! files as its own methods do: the example's, through the public interface.

#[path = "../../examples/align_uniform/mod.rs"]
mod align_uniform;

use crate::device::device;
use crate::runs::{Recorder, config, dataset, options, state};
use align_uniform::own_method;
use moco::config::{FeatureKind, RunConfig};
use moco::eval::{FrozenEncoder, features};
use moco::train::{Changed, Resume, RunDir, Trainer};
use moco_data::Dataset;
use std::sync::Arc;

fn begun(config: &RunConfig, images: &Arc<Dataset>) -> Trainer {
    let own = own_method(config, &device());
    Trainer::with_method(config, own, images.clone(), &device(), options(1)).unwrap()
}

#[test]
fn a_method_of_ones_own_trains_and_goes_on_to_the_bit() {
    let images = dataset(64);
    let config = config(&images, &[]);
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());

    let mut straight = Recorder::default();
    let mut trainer = begun(&config, &images);
    assert_eq!(trainer.facts().method, "align-uniform");
    straight.train(&mut trainer, whole.path()).unwrap();

    let mut first = Recorder::stopping_after(5);
    first.train(&mut begun(&config, &images), broken.path()).unwrap();
    let run = RunDir::at(broken.path());
    let own = own_method(&config, &device());
    let resume = Resume::open(&run, Changed::default()).unwrap();
    let mut second = resume.trainer_with(&run, own, images.clone(), &device(), options(2)).unwrap();
    let mut rest = Recorder::default();
    rest.train(&mut second, broken.path()).unwrap();

    let losses = [first.losses(), rest.losses()].concat();
    assert_eq!(straight.losses(), losses);
    assert_eq!(state(&mut trainer), state(&mut second));
    assert!(state(&mut trainer).iter().any(|(name, _)| name.starts_with("encoder.head.")));
}

#[test]
fn the_encoder_of_a_method_of_ones_own_is_monitored_and_loads() {
    let images = dataset(64);
    let config = config(&images, &["train.epochs=1"]);
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    recorder.train(&mut begun(&config, &images), folder.path()).unwrap();
    assert!(recorder.epochs().iter().all(|epoch| epoch.knn.is_some()));

    let run = RunDir::at(folder.path());
    assert_eq!(run.read_config().unwrap(), config);
    let network = (own_method(&config, &device()).encoder)(&device());
    let mut encoder = FrozenEncoder::new(network, &config, &device());
    encoder.load(&run.encoder()).unwrap();
    let found = features(&mut encoder, &images, FeatureKind::Head, 1, &mut |_, _| ()).unwrap();
    assert_eq!((found.len(), found.dim), (64, 64));
}
