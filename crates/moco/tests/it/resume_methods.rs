//! Every method resumes to the bit: what it remembers is all in its checkpoint.

use crate::device::device;
use crate::runs::{Recorder, dataset, options, state};
use moco::config::DataFacts;
use moco::plan::{self, Plan, load_recipe, resolve, set_value};
use moco::run::RunDir;
use moco::train::Trainer;
use moco_data::Dataset;

/// A recipe and what makes it small.
pub type Case = (&'static str, &'static [&'static str]);

pub const CASES: &[Case] = &[
    ("moco-v1-small", &[NARROW, "model.bn_groups=2", "method.dim=16", "method.queue=40"]),
    ("moco-v2-small", &[NARROW, "method.dim=16", "method.queue=40", "method.symmetric=true"]),
    ("instdisc-small", &[NARROW, "method.dim=16", "method.loss=nce", "method.negatives=20", ONE]),
    ("instdisc-small", &[NARROW, "method.dim=16", "method.loss=softmax", ONE]),
    ("invaspread-small", &[NARROW, "method.dim=16"]),
    ("cmc-small", CMC),
    ("cmc-small", &[CMC[0], CMC[1], CMC[2], CMC[3], CMC[4], "method.loss=nce"]),
    (
        "cpc-small",
        &[
            NARROW,
            "method.dim=16",
            "method.steps=1",
            "method.first_offset=1",
            "data.views=['resize(16) center(16) flip patches(8; stride=4)']",
            "data.eval_view='resize(16) center(16) patches(8; stride=4)'",
        ],
    ),
    ("simclr-small", &[NARROW, "method.dim=16"]),
    ("simclr-v2-small", &[NARROW, "method.dim=16", "optim.optimizer=lars", "optim.flavor=inside"]),
    ("simclr-v2-small", &[NARROW, "method.dim=16", "method.memory=40"]),
    ("byol-small", &[NARROW, "method.dim=16", "method.hidden=24"]),
    ("simsiam-small", &[NARROW, "method.dim=16", "method.hidden=8"]),
    (
        "swav-small",
        &[
            NARROW,
            "method.dim=16",
            "method.prototypes=8",
            "method.queue=32",
            "method.freeze_prototypes_steps=3",
            MULTI_CROP,
        ],
    ),
    ("moco-v3-small", &[NARROW, "method.dim=16", "method.hidden=24"]),
    ("moco-v3-vit-small", &["method.dim=16", "method.hidden=24"]),
    (
        "dino-small",
        &[NARROW, "method.outputs=32", "method.hidden=24", "method.bottleneck=8", MULTI_CROP],
    ),
    (
        "dino-cifar10",
        &["method.outputs=32", "method.hidden=24", "method.bottleneck=8", DROP, MULTI_CROP],
    ),
    ("mae-small", &["method.decoder_width=16", "method.decoder_depth=1", ONE]),
];

const CMC: &[&str] = &[
    NARROW,
    "method.dim=16",
    "method.negatives=20",
    "data.views=['crop(16, 0.2..1) flip lab normalize(lab)']",
    "data.eval_view='resize(16) center(16) lab normalize(lab)'",
];
const NARROW: &str = "model.width=4";
const DROP: &str = "model.drop_path=0.3";
const ONE: &str = "data.views=['crop(16, 0.2..1) flip']";
const MULTI_CROP: &str = "data.views=['2x crop(16, 0.3..1) flip', '2x crop(8, 0.1..0.3)']";

/// Four steps of 16 images in each of two epochs, on a network of width 4.
fn config(case: &Case, dataset: &Dataset) -> Plan {
    config_with(case, &[], dataset)
}

/// As [`config`], with further settings.
pub fn config_with((recipe, overrides): &Case, more: &[&str], dataset: &Dataset) -> Plan {
    let mut tree = load_recipe(recipe).expect("an embedded recipe");
    plan::set(&mut tree, "data.path", "in-memory".into()).unwrap();
    let small = [
        "train.batch_size=16",
        "train.epochs=2",
        "optim.warmup_epochs=1",
        "monitor.knn_epochs=0",
        "data.views=['crop(16, 0.2..1) flip', 'crop(16, 0.2..1) gray(p=0.2)']",
        "data.eval_view='resize(16) center(16)'",
    ];
    for assignment in small.iter().chain(*overrides).chain(more) {
        set_value(&mut tree, assignment).unwrap();
    }
    let facts = DataFacts::of(dataset).unwrap();
    resolve(&tree, &facts).unwrap_or_else(|error| panic!("{recipe}: {error}")).config
}

#[test]
fn every_method_resumes_exactly() {
    let (data, device) = (dataset(64), device());
    for case in CASES {
        let (name, config) = (case.0, config(case, &data));
        let new = || Trainer::new(&config, data.clone(), &device, options(1)).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let (mut straight, mut trainer) = (Recorder::default(), new());
        straight.train(&mut trainer, dir.path()).unwrap();
        assert_eq!(straight.losses().len(), 8, "{name}");

        let dir = tempfile::tempdir().unwrap();
        let mut broken = Recorder::stopping_after(5);
        broken.train(&mut new(), dir.path()).unwrap();
        assert_eq!(broken.losses().len(), 5, "{name} stops within the second epoch");
        let run = RunDir::at(dir.path());
        let mut resumed = Trainer::resume(&run, data.clone(), &device, options(1)).unwrap();
        broken.stop_after = None;
        broken.train(&mut resumed, dir.path()).unwrap();

        assert_eq!(straight.losses(), broken.losses(), "{name}");
        assert_eq!(state(&mut trainer), state(&mut resumed), "{name}");
    }
}
