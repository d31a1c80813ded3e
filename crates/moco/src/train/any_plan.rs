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
use toml::Table;

/// Plans that are tried; `MOCO_ANY_PLANS=20000` tries so many, which takes an hour.
const TRIED: u64 = 60;
/// Images, of so many pixels a side.
const IMAGES: usize = 48;
const SIDE: usize = 16;
/// Settings that are not drawn: sizes of networks that no test has time for, and a GPU's precision.
const LEFT: [&str; 4] = ["model.backbone", "train.precision", "train.epochs", "method.name"];

fn dataset() -> Arc<Dataset> {
    let names = SHAPE_CLASSES.iter().map(|name| name.to_string()).collect();
    Arc::new(Dataset::from_images(shapes(IMAGES, SIDE, 3), names))
}

/// A small network of a method, with some settings drawn at random.
fn tree(random: &mut impl Rng) -> Table {
    let mut tree = Table::new();
    let mut set = |path: &str, value: toml::Value| {
        // What is refused here is refused in a sentence; the tree stays as it was.
        let _ = plan::set(&mut tree, path, value);
    };
    let name = *methods::names().choose(random).expect("there are methods");
    let transformer = name == "mae" || (random.random_bool(0.4) && !["cpc", "cmc"].contains(&name));
    set("data.path", "in-memory".into());
    set("method.name", name.into());
    set("train.batch_size", 8.into());
    set("train.epochs", 4.into());
    match transformer {
        true => {
            set("model.backbone", "vit-micro".into());
            set("model.embed_dim", 24.into());
            set("model.heads", 3.into());
            set("model.depth", 2.into());
        }
        false => {
            set(
                "model.backbone",
                if random.random_bool(0.8) { "resnet18" } else { "resnet50" }.into(),
            );
            set("model.width", 4.into());
        }
    }
    for _ in 0..random.random_range(1..6) {
        if let Some((path, value)) = drawn(&tree, random)
            && !LEFT.contains(&path.as_str())
            && !path.starts_with("init.")
        {
            let _ = plan::set(&mut tree, &path, value);
        }
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
    let (mut resolved, mut faults) = (0, Vec::new());
    for number in 0..tried {
        let tree = tree(&mut rng::stream(number, rng::Purpose::Weights, 77));
        let attempt = AssertUnwindSafe(|| match resolve(&tree, &facts) {
            Ok(found) => {
                run(&found.config, &images);
                true
            }
            Err(_) => false,
        });
        match catch_unwind(attempt) {
            Ok(was_resolved) => resolved += u64::from(was_resolved),
            Err(_) => faults.push(tree.to_string()),
        }
    }
    assert!(resolved > tried / 4, "only {resolved} of {tried} came to a plan");
    assert!(
        faults.is_empty(),
        "{} plans panicked, such as\n{}",
        faults.len(),
        faults.join("\n---\n")
    );
}
