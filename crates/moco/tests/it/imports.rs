//! Weights of other programs give the features that their own code gives.
//!
//! `MOCO_GOLDEN_CHECKPOINTS=DIR` runs the first test on other checkpoints of the same form: `NAME.json`
//! says what `file` holds, `NAME.features.safetensors` has the images and the features.

use moco::config::DataFacts;
use moco::device::Device;
use moco::methods;
use moco::nn::tensors;
use moco::plan::{parse_tree, resolve};
use moco::pretrained::{
    Pretrained, Started, check_features, first_network, model_settings, read_imported,
    save_imported, start_from,
};
use moco_weights::{Options, Weights};
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/checkpoints");
    std::env::var_os("MOCO_GOLDEN_CHECKPOINTS").map_or_else(|| golden.into(), PathBuf::from)
}

/// What is known of a checkpoint besides its file.
struct Known {
    name: String,
    file: PathBuf,
    heads: Option<usize>,
    stem_padding: Option<usize>,
}

impl Known {
    fn named(name: &str) -> Known {
        let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let about: serde_json::Value = serde_json::from_str(&text).unwrap();
        // Of several files, the last one leads to the others.
        let several = about["files"].as_array().and_then(|files| files.last());
        let file = about["file"].as_str().or(several.and_then(|file| file.as_str()));
        let file = folder().join(file.expect("the file's name"));
        let heads = about["heads"].as_u64().or(about["num_heads"].as_u64());
        // These files have solo-learn's names, and torchvision's layers.
        let stem_padding = name.starts_with("solo").then_some(1);
        let heads = heads.map(|heads| heads as usize);
        Known { name: name.to_owned(), file, heads, stem_padding }
    }

    fn weights(&self) -> Weights {
        let Known { heads, stem_padding, .. } = *self;
        let options = Options { heads, stem_padding, ..Options::default() };
        moco_weights::open(&self.file, &options)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn pretrained(&self) -> Pretrained {
        Pretrained::new(&self.weights(), &self.name, None, &Device::flex())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn features(&self) -> PathBuf {
        folder().join(format!("{}.features.safetensors", self.name))
    }
}

/// Every sound checkpoint of the folder.
fn all() -> Vec<Known> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".features.safetensors")?.to_owned()))
        .collect();
    names.sort();
    names.iter().map(|name| Known::named(name)).collect()
}

#[test]
fn every_checkpoint_gives_the_features_of_its_own_code() {
    let all = all();
    assert!(all.len() >= 20, "{} checkpoints", all.len());
    let mut wrong = Vec::new();
    for known in all {
        let compared = check_features(&mut known.pretrained(), &known.features())
            .unwrap_or_else(|error| panic!("{}: {error}", known.name));
        let far = compared.into_iter().filter(|feature| !feature.agrees());
        wrong.extend(far.map(|feature| format!("{}: {feature:?}", known.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_written_is_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["moco_v2_cifar", "dino_full", "cmc"] {
        let known = Known::named(name);
        let mut pretrained = known.pretrained();
        let path = folder.path().join(name).with_extension("safetensors");
        save_imported(&mut pretrained, &path).unwrap();
        let mut again = read_imported(&path, &Device::flex()).unwrap().expect("imported weights");
        assert_eq!(again.imported, pretrained.imported);
        assert_eq!(again.config, pretrained.config);
        let compared = check_features(&mut again, &known.features()).unwrap();
        assert!(compared.iter().all(moco::pretrained::Compared::agrees), "{compared:?}");
    }
}

/// A run of `method` whose network is the file's, and what of it started from the file.
fn started(name: &str, settings: &str) -> (Box<dyn methods::Method>, Weights, Started) {
    let weights = Known::named(name).weights();
    let mut tree = parse_tree(settings).unwrap();
    moco::plan::set(&mut tree, "data.path", "images".into()).unwrap();
    for (key, value) in model_settings(&first_network(&weights).unwrap()) {
        moco::plan::set(&mut tree, &key, value).unwrap();
    }
    let facts = DataFacts { images: 64, width: 32, height: 32, labelled: false };
    let config = resolve(&tree, &facts).unwrap().config;
    let device = Device::flex();
    let mut method = config.method(64, &device);
    let network = config.network();
    let started = start_from(&weights, method.as_mut(), network, &device).unwrap();
    (method, weights, started)
}

#[test]
fn a_run_starts_from_both_encoders_and_the_head() {
    let (mut method, weights, started) =
        started("moco_v2_cifar", "[method]\nname = 'moco-v2'\ndim = 16\n");
    let values = tensors(method.as_mut());
    let expected = &weights.backbone["layer2.0.conv1.weight"].data;
    for network in ["query", "key"] {
        let found = values[&format!("{network}.backbone.layer2.0.conv1.weight")].clone();
        assert_eq!(&moco::batch::to_host(found), expected, "{network}");
        assert!(started.from_file.contains_key(&format!("{network}.backbone")), "{started}");
        assert!(started.from_file.contains_key(&format!("{network}.head")), "{started}");
    }
    assert!(started.from_seed.contains_key("queue"), "{started}");
}

#[test]
fn heads_that_do_not_fit_are_drawn() {
    let (_, _, started) = started("moco_v2_cifar", "[method]\nname = 'simsiam'\n");
    assert!(started.from_file.contains_key("online.encoder.backbone"), "{started}");
    assert!(started.from_seed.contains_key("online.encoder.head"), "{started}");
    assert!(started.from_seed.contains_key("online.predictor"), "{started}");
}

#[test]
fn positions_of_another_grid_are_interpolated() {
    let settings = "[method]\nname = 'dino'\n[data]\n\
                    views = ['crop(24) flip normalize(half)', 'crop(24) flip normalize(half)']\n\
                    eval_view = 'resize(24) center(24) normalize(half)'\n";
    let (mut method, weights, started) = started("dino_full", settings);
    assert!(started.notes.iter().any(|note| note.contains("4x4 patches")), "{started}");
    let positions =
        moco::batch::to_host(tensors(method.as_mut())["student.backbone.pos_embed"].clone());
    let width = weights.backbone["pos_embed"].shape[2];
    assert_eq!(positions.len(), (1 + 36) * width);
    assert_eq!(positions[..width], weights.backbone["pos_embed"].data[..width]);
}

#[test]
fn weights_of_another_network_are_refused() {
    let weights = Known::named("moco_v2_cifar").weights();
    let settings = "[method]\nname = 'moco-v2'\n[model]\nbackbone = 'resnet50'\nwidth = 3\n\
                    [data]\npath = 'images'\n";
    let facts = DataFacts { images: 64, width: 32, height: 32, labelled: false };
    let config = resolve(&parse_tree(settings).unwrap(), &facts).unwrap().config;
    let device = Device::flex();
    let mut method = config.method(64, &device);
    let network = config.network();
    let error = start_from(&weights, method.as_mut(), network, &device).unwrap_err().to_string();
    assert!(error.contains("do not fit the run's backbone"), "{error}");
}
