//! SimSiam against PyTorch, its fixed rate, and the collapse without stop-gradient.

use crate::golden::{Golden, assert_close, resnet18_w4};
use crate::trajectory::{self, at, batch};
use moco::batch::to_host;
use moco::config::{DecayScope, RuleConfig, SimSiamConfig};
use moco::device::Device;
use moco::loss::negative_cosine;
use moco::methods::{Method, SimSiam};
use moco::nn::{Leaf, for_each_leaf};
use moco::optim::Optimizer;
use moco::train::{Rates, learn};

fn method(stop_gradient: bool) -> SimSiam {
    let config = SimSiamConfig {
        dim: 20,
        hidden: 8,
        projector_layers: 3,
        fixed_predictor_lr: true,
        stop_gradient,
    };
    SimSiam::new(&config, &resnet18_w4(1), &Device::flex())
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
    trajectory::check(&mut method, &mut sgd, &golden, 1e-3, [1e-5, 2e-5], &absent);
}

/// METHODS 1.9: the predictor's rate does not follow the schedule.
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

#[test]
fn experiment() {
    let get =
        |name: &str, default: f64| std::env::var(name).map_or(default, |v| v.parse().unwrap());
    let (n, size, lr, wd) =
        (get("N", 32.0) as usize, get("S", 8.0) as usize, get("LR", 0.2), get("WD", 1e-4));
    let (steps, noise) = (get("STEPS", 100.0) as usize, get("NOISE", 1.0));
    let layers = get("L", 3.0) as usize;
    for stop_gradient in [false, true] {
        let config = SimSiamConfig {
            dim: get("D", 20.0) as usize,
            hidden: get("H", 8.0) as usize,
            projector_layers: layers,
            fixed_predictor_lr: true,
            stop_gradient,
        };
        let mut method = SimSiam::new(&config, &resnet18_w4(1), &Device::flex());
        let mut sgd = sgd(&mut method);
        let rates = Rates { lr, fixed_lr: lr, weight_decay: wd };
        let mut rng = moco::rng::stream(1, moco::rng::Purpose::Queue, 0);
        let start = std::time::Instant::now();
        for index in 0..steps {
            let draw =
                |rng: &mut _| moco::nn::init::normal([n, size, size, 3], 1.0, rng, &Device::flex());
            let base: burn::tensor::Tensor<4> = draw(&mut rng);
            let views = vec![
                base.clone() * (1.0 - noise) + draw(&mut rng) * noise,
                base * (1.0 - noise) + draw(&mut rng) * noise,
            ];
            let batch = moco::batch::Batch { indices: (0..n).collect(), views };
            let last = learn(&mut method, &mut sgd, batch, at(0), &rates, 1).unwrap();
            if index % (steps / 10) == 0 || index + 1 == steps {
                eprintln!(
                    "{stop_gradient} {index}: loss {:.4} std {:.4}",
                    last.loss, last.metrics[0].1
                );
            }
        }
        eprintln!("{:?}", start.elapsed());
    }
}
