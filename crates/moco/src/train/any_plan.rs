//! Whatever settings resolve to a plan can be run: what cannot be built is refused before.

use super::{Trainer, TrainerOptions};
use crate::config::DataFacts;
use crate::eval::{FrozenEncoder, features};
use crate::plan::{self, Plan, drawn, resolve};
use crate::{methods, rng};
use burn::tensor::Device;
use moco_data::Dataset;
use moco_data::synthetic::{SHAPE_CLASSES, shapes};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use toml::{Table, Value};

/// Plans that are tried. `MOCO_ANY_PLANS=600` tries so many instead, in 90 seconds on two cores.
const TRIED: u64 = 60;
/// Images, of so many pixels a side.
const IMAGES: usize = 48;
const SIDE: usize = 16;
/// Settings that are drawn for each.
const DRAWS: usize = 20;
/// Settings that are not drawn: sizes of networks that no test has time for, and a GPU's precision.
const LEFT: [&str; 4] = ["model.backbone", "train.precision", "train.epochs", "method.name"];

fn dataset() -> Arc<Dataset> {
    let names = SHAPE_CLASSES.iter().map(|name| name.to_string()).collect();
    Arc::new(Dataset::from_images(shapes(IMAGES, SIDE, 3), names))
}

/// A small network of a method, with settings drawn at random; those that do not go with the ones before are
/// left out, in a sentence.
fn drawn_plan(random: &mut impl Rng, facts: &DataFacts) -> Plan {
    let mut tree = start(random);
    let mut plan = resolve(&tree, facts).expect("a small network").config;
    for _ in 0..DRAWS {
        let Some((path, value)) = drawn(&tree, random) else { continue };
        let mut with = tree.clone();
        let is_left = LEFT.contains(&path.as_str()) || path.starts_with("init.");
        if is_left || plan::set(&mut with, &path, value).is_err() {
            continue;
        }
        if let Ok(resolved) = resolve(&with, facts) {
            (tree, plan) = (with, resolved.config);
        }
    }
    plan
}

/// A method on a network that a test has time for.
fn start(random: &mut impl Rng) -> Table {
    let name = *methods::names().choose(random).expect("there are methods");
    let transformer = name == "mae" || (random.random_bool(0.4) && !["cpc", "cmc"].contains(&name));
    let residual = if random.random_bool(0.8) { "resnet18" } else { "resnet50" };
    let network: &[(&str, Value)] = match transformer {
        true => &[
            ("model.backbone", "vit-micro".into()),
            ("model.embed_dim", 24.into()),
            ("model.heads", 3.into()),
            ("model.depth", 2.into()),
        ],
        false => &[("model.backbone", residual.into()), ("model.width", 4.into())],
    };
    let run = [
        ("data.path", "in-memory".into()),
        ("method.name", name.into()),
        ("train.batch_size", 8.into()),
        ("train.epochs", 4.into()),
    ];
    let mut tree = Table::new();
    for (path, value) in run.iter().chain(network) {
        plan::set(&mut tree, path, value.clone()).expect("a setting of a small network");
    }
    tree
}

/// A step, and the feature that the monitor would ask for.
fn run(plan: &Plan, images: &Arc<Dataset>) {
    let device = Device::flex();
    let options = TrainerOptions { threads: 1, cache_mb: 0 };
    // What a run refuses, or ends with, is a sentence.
    let Ok(mut trainer) = Trainer::new(plan, Arc::clone(images), &device, options) else { return };
    let _ = trainer.time_steps(1);
    let mut frozen = FrozenEncoder::new(plan.encoder(&device), plan.eval_view().clone(), &device);
    let _ = features(&mut frozen, images, plan.monitor.knn_feature, 1, &mut |_, _| ());
}

#[test]
fn what_resolves_can_be_run() {
    let tried = std::env::var("MOCO_ANY_PLANS").map_or(TRIED, |count| count.parse().unwrap());
    let images = dataset();
    let facts = DataFacts::of(&images).unwrap();
    let mut faults = Vec::new();
    for number in 0..tried {
        let random = &mut rng::stream(number, rng::Purpose::Weights, 77);
        let plan = drawn_plan(random, &facts);
        if catch_unwind(AssertUnwindSafe(|| run(&plan, &images))).is_err() {
            faults.push(plan.to_toml().unwrap());
        }
    }
    assert!(faults.is_empty(), "{} plans panicked:\n{}", faults.len(), faults.join("\n---\n"));
}
