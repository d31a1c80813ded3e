//! MoCo v1 and v2 against facebookresearch/moco.

use super::{Kink, Official, STEPS, at, on_two_ranks, stock};
use crate::device::device;
use crate::golden::{difference, resnet, resnet18_w4};
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, RuleConfig, StemKind};
use moco::layout::Layout;
use moco::methods::{HeadKind, MocoConfig};
use moco::methods::{Method, Moco};
use moco::models::NetworkSpec;
use moco::nn::{Module, share, tensors};
use moco::optim::Optimizer;
use moco::parts::KeyShuffle;
use moco_kernels::Isa;
use moco_peers::Peers;

fn method(official: &Official, network: &NetworkSpec, groups: usize) -> Moco {
    let mlp = official.facts["hyper_parameters"]["mlp"] == true;
    let config = MocoConfig {
        queue: official.setting("K") as usize,
        momentum: official.setting("m"),
        temperature: official.setting("T"),
        dim: official.setting("dim") as usize,
        head: if mlp { HeadKind::Mlp } else { HeadKind::Linear },
        symmetric: false,
        shuffle_keys: groups > 1,
        mask_own_keys: false,
    };
    Moco::new(&config, network, &device())
}

fn sgd(student: &mut dyn Module) -> Optimizer {
    Optimizer::of_rule(RuleConfig::Sgd { momentum: 0.9 }, DecayScope::All, None, student)
}

fn batch(official: &Official, step: usize) -> Batch {
    let views: Vec<_> = ["view_q", "view_k"].map(|name| official.view(name, step)).into();
    let n = views[0].dims()[0];
    Batch { indices: official.peers.share(n * official.peers.size()).collect(), views }
}

fn check(official: Official, network: &NetworkSpec) {
    let layout = Layout::Moco { mlp: official.facts["hyper_parameters"]["mlp"] == true };
    let mut method = method(&official, network, 1);
    official.start(&mut method, layout);
    let mut sgd = sgd(method.student());
    let decay = official.setting("weight_decay");
    official.train(
        &mut method,
        &mut sgd,
        |_| decay,
        |method, step| method.loss(&batch(&official, step), &at(step)),
    );
    official.compare(&mut method, layout, &[]);
}

#[test]
fn v1_is_the_published_code() {
    check(Official::open("moco_v1"), &resnet18_w4(1));
}

#[test]
fn v2_is_the_published_code() {
    check(Official::open("moco_v2"), &resnet18_w4(1));
}

#[test]
fn v2_with_resnet50_is_the_published_code() {
    // Burn's own sums on a processor without AVX-512 turn a ReLU over between the third and the fourth
    // step: that loss is 1.4e-4 away, weights up to 1.1e-2.
    let turns = stock() && !Isa::Avx512.is_supported();
    let official = Official::open("moco_v2_resnet50");
    let official = official.beside_a_kink(turns, Kink { state: 2e-2, loss: 4e-4 });
    check(official, &resnet("resnet50", 4, StemKind::Imagenet));
}

/// Two processes with a BatchNorm each and shuffled keys are two groups here. Ranks are blocks of
/// the gathered batch and our groups take turns: row i of rank r is our row i R + r.
#[test]
fn two_ranks_are_two_groups() {
    two_ranks(Peers::SOLO);
}

/// The same with two ranks: images go to where their place is, and all keys into every queue.
#[test]
fn two_ranks_are_two_ranks() {
    on_two_ranks(two_ranks);
}

fn two_ranks(peers: Peers) {
    // The roundings of Winograd's convolutions turn a ReLU over.
    let official = Official::open("moco_v2_two_ranks").among(peers);
    let official = official.beside_a_kink(!stock(), Kink { state: 2e-3, loss: 0.0 });
    let layout = Layout::Moco { mlp: true };
    let mut method = method(&official, &resnet18_w4(2), 2);
    official.start(&mut method, layout);
    share(&mut method, peers);
    let mut sgd = sgd(method.student());
    let decay = official.setting("weight_decay");
    let permutations = official.tensors.indices("permutation");
    let all = permutations.len() / STEPS;
    let ours = |gathered: usize| gathered % (all / 2) * 2 + gathered / (all / 2);
    official.train(
        &mut method,
        &mut sgd,
        |_| decay,
        |method, step| {
            let mut rows = vec![0; all];
            for (to, &from) in permutations[step * all..][..all].iter().enumerate() {
                rows[ours(to)] = ours(from);
            }
            let shuffle = || KeyShuffle::new(rows.clone(), &device());
            method.loss_with(&batch(&official, step), &at(step), &[shuffle(), shuffle()])
        },
    );
    // Each process keeps running statistics of its own; ours are one. They move no weight.
    official.compare(&mut method, layout, &["running_", "queue"]);

    let queue = to_host(tensors(&mut method)["queue.keys"].clone());
    let dim = official.setting("dim") as usize;
    let expected = official.values("final.queue");
    let at = |row: usize| row / all * all + ours(row % all);
    let sorted: Vec<f32> =
        (0..expected.len() / dim).flat_map(|row| queue[at(row) * dim..][..dim].to_vec()).collect();
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    assert!(difference(&sorted, &expected) < official.state_tolerance());
}
