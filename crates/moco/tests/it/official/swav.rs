//! SwAV against facebookresearch/swav with NVIDIA's LARC.

use super::{Official, at, on_two_ranks};
use crate::device::device;
use crate::golden::{assert_close, difference, resnet};
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, LarsFlavor, RuleConfig, StemKind};
use moco::layout::Layout;
use moco::methods::SwAvConfig;
use moco::methods::{Method, SwAv};
use moco::nn::tensors;
use moco::optim::Optimizer;
use moco::parts::{own_rows, sinkhorn, sinkhorn_among};

fn check(name: &str, queue: usize) -> (Official, SwAv) {
    let official = Official::open(name);
    let config = SwAvConfig {
        dim: 12,
        hidden: 24,
        prototypes: 10,
        temperature: official.setting("temperature"),
        epsilon: official.setting("epsilon"),
        sinkhorn_iterations: official.setting("sinkhorn_iterations") as usize,
        queue,
        queue_from_epoch: 0,
        freeze_prototypes_steps: official.setting("freeze_prototypes_niters") as usize,
    };
    let network = resnet("resnet18", 4, StemKind::Imagenet);
    let mut method = SwAv::new(&config, &network, &device());
    official.start(&mut method, Layout::SwAv);
    let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Larc };
    let mut larc = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    official.train(
        &mut method,
        &mut larc,
        |_| 1e-3,
        |method, step| {
            let views = ["view1", "view2", "view3", "view4"].map(|name| official.view(name, step));
            method.loss(&Batch { indices: (0..6).collect(), views: views.into() }, &at(step))
        },
    );
    official.compare(&mut method, Layout::SwAv, &["final.queue"]);
    (official, method)
}

#[test]
fn swav_is_the_published_code() {
    check("swav", 0);
}

#[test]
fn swav_with_its_queue_is_the_published_code() {
    let (official, mut method) = check("swav_queue", 12);
    let state = tensors(&mut method);
    let found: Vec<f32> =
        (0..2).flat_map(|view| to_host(state[&format!("queues.{view}.rows")].clone())).collect();
    let off = difference(&found, &official.tensors.values("final.queue"));
    assert!(off < 2e-5, "off by {off:.1e}");
}

/// The scores of each step, of the queue's rows and the batch's, give the published codes.
#[test]
fn codes_are_the_published_ones() {
    for name in ["swav", "swav_queue"] {
        let official = Official::open(name);
        for (step, crop) in (0..4).flat_map(|step| [(step, 0), (step, 1)]) {
            let scores: Tensor<2> = official.tensors.tensor(&format!("scores.{step}.{crop}"));
            let codes = sinkhorn(scores, 0.05, 3);
            assert_close(codes, &official.tensors, &format!("codes.{step}.{crop}"), 5e-6);
        }
    }
}

/// The assignment of two processes is one problem over both batches.
#[test]
fn codes_of_two_ranks_are_those_of_the_whole_batch() {
    let official = Official::open("swav_sinkhorn_two_ranks");
    for case in 0..2 {
        let scores: Tensor<3> = official.tensors.tensor(&format!("{case}.scores"));
        let codes = sinkhorn(scores.flatten::<2>(0, 1), 0.05, 3);
        assert_close(codes, &official.tensors, &format!("{case}.codes"), 5e-6);
    }
}

/// The same where two ranks have half of the samples each.
#[test]
fn codes_on_two_ranks_are_the_published_ones() {
    on_two_ranks(|peers| {
        let official = Official::open("swav_sinkhorn_two_ranks");
        for case in 0..2 {
            let of = |name: &str| -> Tensor<2> {
                official.tensors.tensor::<3>(&format!("{case}.{name}")).flatten(0, 1)
            };
            let (scores, expected) = (of("scores"), own_rows(of("codes"), peers));
            let samples = scores.dims()[0];
            let codes = sinkhorn_among(own_rows(scores, peers), samples, 0.05, 3, peers);
            let expected: Vec<f64> = to_host(expected).into_iter().map(f64::from).collect();
            let off = difference(&to_host(codes), &expected);
            assert!(off < 5e-6, "case {case}: off by {off:.1e}");
        }
    });
}
