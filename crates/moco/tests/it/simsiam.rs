//! SimSiam against PyTorch, its fixed rate, and the collapse without stop-gradient.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4};
use crate::trajectory::{self, at, batch};
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, RuleConfig};
use moco::loss::negative_cosine;
use moco::methods::SimSiamConfig;
use moco::methods::{Method, SimSiam};
use moco::nn::{Leaf, for_each_leaf, init};
use moco::optim::Optimizer;
use moco::rng::{Purpose, stream};
use moco::train::{Rates, learn};

fn method(stop_gradient: bool) -> SimSiam {
    let config = SimSiamConfig {
        dim: 20,
        hidden: 8,
        projector_hidden: 24,
        projector_layers: 3,
        fixed_predictor_lr: true,
        stop_gradient,
    };
    SimSiam::new(&config, &resnet18_w4(1), &device())
}

fn sgd(method: &mut SimSiam) -> Optimizer {
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    Optimizer::of_rule(rule, DecayScope::All, None, method.student())
}

/// Cosines in f32: torch's own f32 is within 2e-6, relative to a loss that is a small difference.
#[test]
fn loss_and_gradients_match_torch() {
    let golden = Golden::open("simsiam_loss");
    let [p1, p2] = ["p1", "p2"].map(|p| golden.tensor::<2>(p).autodiff().require_grad());
    let loss = (negative_cosine(p1.clone(), golden.tensor("z2"))
        + negative_cosine(p2.clone(), golden.tensor("z1")))
        / 2.0;
    assert_close(loss.clone(), &golden, "loss", 1e-5);
    let gradients = loss.backward();
    assert_close(p1.grad(&gradients).unwrap(), &golden, "grad_p1", 2e-6);
    assert_close(p2.grad(&gradients).unwrap(), &golden, "grad_p2", 2e-6);
}

/// The projector's last bias is not trained, and the predictor keeps its rate.
#[test]
fn trajectory_matches_torch() {
    let golden = Golden::open("simsiam_trajectory");
    let mut method = method(true);
    let mut sgd = sgd(&mut method);
    // The mean of what a BatchNorm without shift puts out, through a linear layer.
    let absent = ["predictor.1.running_mean"];
    // A loss near 0 is a difference of terms near 1: 3e-5 of it is 1e-6 of those.
    trajectory::check(&mut method, &mut sgd, &golden, 1e-3, [3e-5, 2e-5], &absent);
}

/// The predictor's rate does not follow the schedule.
#[test]
fn at_a_rate_of_zero_only_the_predictor_moves() {
    let golden = Golden::open("simsiam_trajectory");
    let mut method = method(true);
    let mut sgd = sgd(&mut method);
    trajectory::start(&mut method, &golden);
    let before = params(&mut method);
    let rates = Rates { lr: 0.0, fixed_lr: 0.1, weight_decay: 0.0 };
    learn(&mut method, &mut sgd, batch(&golden, 0), at(0), &rates, 1).unwrap();
    for ((name, before), (_, after)) in before.iter().zip(params(&mut method)) {
        assert_eq!(*before != after, name.starts_with("online.predictor."), "{name}");
    }
}

fn params(method: &mut SimSiam) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    for_each_leaf(method, |name, leaf| {
        if let Leaf::Param(param) = leaf {
            all.push((name.to_owned(), to_host(param.flat())));
        }
    });
    all
}

#[test]
fn the_last_bias_is_saved_but_not_trained() {
    let mut found = Vec::new();
    for_each_leaf(&mut method(true), |name, leaf| {
        if name.starts_with("online.encoder.head.2.") {
            found
                .push((name.replace("online.encoder.head.2.", ""), matches!(leaf, Leaf::Param(_))));
        }
    });
    let expected = [("weight", true), ("bias", false)]
        .into_iter()
        .chain([("norm.running_mean", false), ("norm.running_var", false)]);
    assert_eq!(found, expected.map(|(name, param)| (name.to_owned(), param)).collect::<Vec<_>>());
}

/// Mean loss and spread over the last steps of a training on pairs of unrelated images, which
/// have nothing in common to be found: only a collapse can bring the loss near -1.
fn after_training_on_noise(stop_gradient: bool) -> (f64, f64) {
    const STEPS: usize = 100;
    const LAST: usize = 30;
    let config = SimSiamConfig {
        dim: 20,
        hidden: 8,
        projector_hidden: 20,
        projector_layers: 3,
        fixed_predictor_lr: true,
        stop_gradient,
    };
    let device = device();
    let mut method = SimSiam::new(&config, &resnet18_w4(1), &device);
    let mut sgd = sgd(&mut method);
    let rates = Rates { lr: 0.2, fixed_lr: 0.2, weight_decay: 1e-4 };
    let mut rng = stream(1, Purpose::Queue, 0);
    let (mut loss, mut spread) = (0.0, 0.0);
    for step in 0..STEPS {
        let mut noise = || init::normal([32, 8, 8, 3], 1.0, &mut rng, &device);
        let batch = Batch { indices: (0..32).collect(), views: vec![noise(), noise()] };
        let learnt = learn(&mut method, &mut sgd, batch, at(0), &rates, 1).unwrap();
        if step >= STEPS - LAST {
            loss += learnt.loss / LAST as f64;
            spread += learnt.metrics[0].1 / LAST as f64;
        }
    }
    (loss, spread * 20f64.sqrt())
}

/// Chen & He 2021, Sec. 4.1 and Fig. 2: without stop-gradient the loss runs to -1 and the spread
/// of the outputs, 1 when they fill the sphere, falls. Without: -0.86 and 0.47 (after four times the
/// steps -0.91 and 0.40); with: -0.34 and 0.91 on a CPU, -0.51 and 0.84 on a GPU.
#[test]
fn without_stop_gradient_the_network_collapses() {
    let (loss, spread) = after_training_on_noise(false);
    assert!(loss < -0.8 && spread < 0.55, "without: loss {loss:.3}, spread {spread:.3}");
    let (loss, spread) = after_training_on_noise(true);
    assert!(loss > -0.6 && spread > 0.75, "with: loss {loss:.3}, spread {spread:.3}");
}
