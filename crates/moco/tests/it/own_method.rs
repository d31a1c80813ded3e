//! A method that the library does not know, with settings of its own, goes through settings, training,
//! monitors, checkpoints and encoders' files as the library's own: the example's, through the public
//! interface.

#[path = "../../examples/align_uniform/mod.rs"]
mod align_uniform;

use crate::device::device;
use crate::runs::{Recorder, dataset, options, state};
use align_uniform::{AlignUniformConfig, AlignUniformSpec};
use moco::config::FeatureKind;
use moco::eval::features;
use moco::methods;
use moco::plan::{Choices, Plan, parse_run};
use moco::run::{RunDir, load_encoder};
use moco::train::Trainer;
use moco_data::Dataset;

/// Four steps of 16 images in each of two epochs, on a network of width 4.
fn chosen() -> Choices {
    methods::register(&AlignUniformSpec).unwrap();
    let all: [(&str, toml::Value); 9] = [
        ("data.path", "in-memory".into()),
        ("method.name", "align-uniform".into()),
        ("method.steepness", 3.0.into()),
        ("model.width", 4.into()),
        ("train.batch_size", 16.into()),
        ("train.epochs", 2.into()),
        ("train.log_steps", 1.into()),
        ("data.views", vec!["crop(16, 0.2..1) flip", "crop(16, 0.2..1)"].into()),
        ("data.eval_view", "resize(16) center(16)".into()),
    ];
    all.into_iter().fold(Choices::new(), |chosen, (key, value)| chosen.set(key, value).unwrap())
}

fn config(images: &Dataset) -> Plan {
    chosen().resolve(images).unwrap().config
}

#[test]
fn a_method_of_ones_own_has_settings_defaults_and_checks() {
    let images = dataset(64);
    let config = config(&images);
    let settings = config.settings_as::<AlignUniformConfig>().unwrap();
    assert_eq!(settings, &AlignUniformConfig { dim: 64, steepness: 3.0, uniformity: 1.0 });
    assert_eq!(config.optim.lr, 0.12);
    assert_eq!(parse_run(&config.to_toml().unwrap()).unwrap(), config);
    assert!(methods::names().ends_with(&["mae", "align-uniform"]));

    let refused = |name: &str, value: f64| chosen().set(name, value).unwrap_err().to_string();
    assert_eq!(refused("method.steepness", -1.0), "method.steepness = -1.0: must be above 0");
    assert!(refused("method.steepnes", 1.0).contains("did you mean `method.steepness`?"));
    let stray = chosen().set("method.queue", 64).unwrap().resolve(&images).unwrap_err();
    assert_eq!(
        stray.to_string(),
        "`method.queue` has no meaning with method.name = align-uniform: it has method.dim, \
         method.steepness, method.uniformity"
    );
    let single = chosen().set("optim.accumulate", 16).unwrap().set("model.norm", "layer").unwrap();
    let error = single.resolve(&images).unwrap_err().to_string();
    assert!(error.contains("align-uniform spreads images"), "{error}");
}

#[test]
fn two_methods_cannot_have_one_name() {
    struct Impostor;
    impl methods::Spec for Impostor {
        fn card(&self) -> methods::Card {
            methods::Card { name: "byol", ..methods::Spec::card(&AlignUniformSpec) }
        }
        fn profile(&self) -> methods::Profile {
            AlignUniformSpec.profile()
        }
        fn fields(&self) -> &'static [moco::config::Field] {
            AlignUniformSpec.fields()
        }
        fn fill(&self, draft: &mut moco::config::Draft, scale: &moco::config::Scale<'_>) {
            AlignUniformSpec.fill(draft, scale);
        }
        fn read(
            &self,
            settings: toml::Table,
        ) -> Result<methods::Settled, moco::config::ConfigError> {
            AlignUniformSpec.read(settings)
        }
        fn backbone(&self, scale: &moco::config::Scale<'_>) -> moco::config::BackboneDefaults {
            AlignUniformSpec.backbone(scale)
        }
        fn optim(&self, scale: &moco::config::Scale<'_>) -> moco::config::OptimDefaults {
            AlignUniformSpec.optim(scale)
        }
        fn views(&self, size: usize) -> Vec<String> {
            AlignUniformSpec.views(size)
        }
        fn eval_view(&self, size: usize) -> String {
            AlignUniformSpec.eval_view(size)
        }
        fn probe(&self, network: &moco::models::NetworkSpec) -> moco::eval::Protocol {
            AlignUniformSpec.probe(network)
        }
    }
    let error = methods::register(&Impostor).unwrap_err().to_string();
    assert_eq!(error, "there is a method called byol already: give this one another name");
}

#[test]
fn a_method_of_ones_own_trains_and_goes_on_to_the_bit() {
    let images = dataset(64);
    let config = config(&images);
    let begun = || Trainer::new(&config, images.clone(), &device(), options(1)).unwrap();
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());

    let mut straight = Recorder::default();
    let mut trainer = begun();
    assert_eq!(trainer.facts().method, "align-uniform");
    straight.train(&mut trainer, whole.path()).unwrap();

    let mut first = Recorder::stopping_after(5);
    first.train(&mut begun(), broken.path()).unwrap();
    let run = RunDir::at(broken.path());
    let mut second = Trainer::resume(&run, images.clone(), &device(), options(2)).unwrap();
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
    let config = config(&images);
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let mut trainer = Trainer::new(&config, images.clone(), &device(), options(1)).unwrap();
    recorder.train(&mut trainer, folder.path()).unwrap();
    assert!(recorder.epochs().iter().all(|epoch| epoch.knn.is_some()));

    assert_eq!(RunDir::at(folder.path()).read_config().unwrap(), config);
    let mut encoder = load_encoder(folder.path(), &device()).unwrap().encoder;
    let found = features(&mut encoder, &images, FeatureKind::Head, 1, &mut |_, _| ()).unwrap();
    assert_eq!((found.len(), found.dim), (64, 64));
}
