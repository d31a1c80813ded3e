//! Five steps of a method from the weights and views that PyTorch started from.

use crate::golden::{Golden, assert_close, set_tensors, stored_batch};
use moco::batch::{Batch, to_host};
use moco::methods::{Method, Step};
use moco::nn::{Leaf, for_each_leaf};
use moco::optim::Optimizer;
use moco::train::{Rates, learn};

/// Steps of every trajectory.
pub const STEPS: usize = 5;
/// Images of a step.
pub const BATCH: usize = 8;

/// Where step `index` stands.
pub fn at(index: usize) -> Step {
    Step { index, total: STEPS, per_epoch: STEPS, seed: 0, part: 0 }
}

/// The two views of a step.
pub fn batch(golden: &Golden, step: usize) -> Batch {
    stored_batch(golden, step, &["view1", "view2"])
}

/// The name in the file of a tensor of ours: `online`, `target` and `predictor`, and within a head
/// PyTorch's position in a row of Linear, BatchNorm, ReLU, Linear, ...
pub fn golden_name(name: &str) -> String {
    let name = name
        .replace("memory.", "")
        .replace("online.predictor.", "predictor.")
        .replace("query.predictor.", "predictor.")
        .replace("online.encoder.", "online.")
        .replace("query.encoder.", "online.")
        .replace("key.", "target.");
    let name = match name.strip_prefix("encoder.") {
        Some(inner) => format!("online.{inner}"),
        None => name,
    };
    let name = name.replace(".head.", ".projector.");
    let Some((net, inner)) = ["projector.", "predictor."]
        .iter()
        .find_map(|net| name.split_once(net).map(|(side, inner)| (format!("{side}{net}"), inner)))
    else {
        return name;
    };
    let (layer, tensor) = inner.split_once('.').expect("a tensor of a layer");
    let layer: usize = layer.parse().expect("the number of a layer");
    match tensor.strip_prefix("norm.") {
        Some(tensor) => format!("{net}{}.{tensor}", 3 * layer + 1),
        None => format!("{net}{}.{tensor}", 3 * layer),
    }
}

/// Sets the weights that PyTorch started from; running statistics start at 0 and 1 in both.
pub fn start(method: &mut dyn Method, golden: &Golden) {
    set_tensors(method, |name| {
        // A target starts as a copy.
        let name = golden_name(name).replace("target.", "online.");
        (!name.contains("running_")).then(|| golden.f32(&format!("initial.{name}")))
    });
}

/// Trains for the file's steps and compares the loss of each, then all state at the end.
///
/// `tolerances` are those of a loss and of the state, relative: a few times what f32 costs torch
/// itself (golden/MANIFEST.json), since our sums are in another order. Tensors that are 0 but for
/// rounding are not in the file, and named in `absent`.
pub fn check(
    method: &mut dyn Method,
    optimizer: &mut Optimizer,
    golden: &Golden,
    weight_decay: f64,
    tolerances: [f64; 2],
    absent: &[&str],
) {
    start(method, golden);
    let (expected, lr) = (golden.values("loss"), golden.values("lr"));
    let fixed_lr = lr[0];
    for step in 0..STEPS {
        let rates = Rates { lr: lr[step], fixed_lr, weight_decay };
        let learnt = learn(method, optimizer, batch(golden, step), at(step), &rates, 1);
        let loss = learnt.expect("a finite loss").loss;
        let off = ((loss - expected[step]) / expected[step]).abs();
        assert!(off < tolerances[0], "step {step}: loss {loss}, off by {off:.1e}");
    }
    let known = golden.names();
    for_each_leaf(method, |name, leaf| {
        let (Leaf::Param(found) | Leaf::Buffer(found)) = leaf else { return };
        let name = golden_name(name);
        if absent.contains(&name.as_str()) {
            assert!(to_host(found.flat()).iter().all(|v| v.abs() < 1e-6), "{name} is nearly 0");
            return;
        }
        let name = format!("final.{name}");
        assert!(known.contains(&name), "{name} is in the file");
        assert_close(found.flat(), golden, &name, tolerances[1]);
    });
}
