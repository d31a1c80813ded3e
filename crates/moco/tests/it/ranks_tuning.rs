//! Several ranks fine-tune, and distil, as one does: each has a share of every batch.

// How far off each is, for whoever looks.
#![allow(clippy::print_stdout)]

use crate::device::device;
use crate::ranks::{Fault, Faulty, State, by, off, worst};
use crate::resume_methods::{CASES, config_with};
use crate::runs::{dataset, untrained};
use moco::batch::to_host;
use moco::config::{DecayScope, RuleConfig};
use moco::eval::{
    Classifier, Distill, EvalError, FineTune, HeadStart, Lessons, Mixing, Readout, Refit, Tuned,
    distill, fine_tune,
};
use moco::nn::{share, tensors};
use moco::plan::Plan;
use moco_data::{Dataset, View};
use moco_peers::{Comm, Peers, Threads};
use std::sync::Arc;

/// Sums of f32 in another order, as for pre-training in ranks.rs: of the first step for every tensor, of
/// the third for the one in the middle. What a step moves is the difference of two weights, of which a
/// rounding is 1e-4 of the smallest movements; up to 1.7e-4 was seen.
const FIRST: f64 = 5e-4;
const LATER: f64 = 1e-4;

/// Images, all of them in one batch that 2 and 3 ranks can share.
const IMAGES: usize = 24;

const RULE: RuleConfig = RuleConfig::Sgd { momentum: 0.9 };

fn plan(recipe: &str, more: &[&str], data: &Dataset) -> Plan {
    let case = CASES.iter().find(|(name, _)| *name == recipe).unwrap();
    config_with(case, &[&["train.batch_size=24"], more].concat(), data)
}

fn view() -> View {
    "crop(16, 0.2..1) flip normalize(cifar10)".parse().unwrap()
}

/// A training of as many steps as epochs.
#[derive(Clone, Copy)]
struct Trial {
    seed: u64,
    epochs: usize,
    lr: f64,
}

/// Fine-tuning of `config`'s network on images that are mixed in both ways.
fn tuned(
    config: &Plan,
    drop_path: f64,
    data: &Arc<Dataset>,
    trial: Trial,
    peers: Peers,
) -> Result<Tuned, EvalError> {
    let Trial { seed, epochs, lr } = trial;
    let refit = Refit { readout: Readout::Own, drop_path };
    let how = FineTune {
        rule: RULE,
        scope: DecayScope::All,
        warmup_epochs: 0.0,
        lr,
        head: HeadStart::FanIn,
        mixing: Mixing { mixup: 0.8, cutmix: 1.0 },
        ..FineTune::new(refit, view(), epochs, IMAGES, seed, 1)
    };
    let mut start = untrained(config).among(peers);
    let encoder = config.encoder(&device().autodiff());
    fine_tune(&mut start, encoder, data.clone(), data, &how, &mut |_, _| ())
}

/// Distillation of one network of `config` to another, with labelled images beside.
fn taught(config: &Plan, data: &Arc<Dataset>, trial: Trial, peers: Peers) -> Tuned {
    let Trial { seed, epochs, lr } = trial;
    let how = Distill {
        epochs,
        warmup_epochs: 0.0,
        batch_size: IMAGES,
        rule: RULE,
        scope: DecayScope::All,
        lr,
        teacher_share: 0.5,
        ..Distill::published(view(), IMAGES, seed, 1)
    };
    let (device, classes) = (device(), data.class_names().len());
    let mut teacher = Classifier::new(config.encoder(&device), classes, 0, &device);
    teacher.start_head(HeadStart::Normal(1.0), 5);
    let graph = device.clone().autodiff();
    let mut student = Classifier::new(config.encoder(&graph), classes, 0, &graph);
    [&mut teacher, &mut student].into_iter().for_each(|net| share(net, peers));
    let lessons = Lessons { unlabelled: data.clone(), labelled: Some(data.clone()) };
    let test = (&**data, config.eval_view());
    distill(&mut teacher, student, &lessons, test, &how, &device, &mut |_, _| ()).unwrap()
}

type Work<'a> = &'a (dyn Fn(Trial, Peers) -> Tuned + Sync);

fn state(tuned: &mut Tuned) -> State {
    tensors(&mut tuned.net).into_iter().map(|(name, values)| (name, to_host(values))).collect()
}

/// What a training leaves: how far it has moved the weights, and the running statistics.
fn left(mut tuned: Tuned, begun: &State) -> State {
    let told = |(name, mut values): (String, Vec<f32>)| {
        if name.contains("running_") {
            return (format!("statistics.{name}"), values);
        }
        values.iter_mut().zip(&begun[&name]).for_each(|(value, from)| *value -= from);
        (format!("moved.{name}"), values)
    };
    state(&mut tuned).into_iter().map(told).collect()
}

/// How far so many ranks, whose messages `spoil` may change, are off one: the worst tensor of the first
/// step, the middle one of several.
fn difference<C: Comm + 'static>(
    ranks: usize,
    spoil: impl Fn(Threads) -> C,
    trial: Trial,
    work: Work<'_>,
) -> f64 {
    let begun = state(&mut work(Trial { lr: 0.0, epochs: 1, ..trial }, Peers::SOLO));
    let one = left(work(trial, Peers::SOLO), &begun);
    let mut all = by(ranks, spoil, |peers| {
        let tuned = work(trial, peers);
        let epochs = tuned.epochs.clone();
        (left(tuned, &begun), epochs)
    });
    let (many, epochs) = all.swap_remove(0);
    all.iter().for_each(|other| {
        assert!(other.0 == many && other.1 == epochs, "all ranks have the same network");
    });
    let (moved, statistics) = (off(&many, &one, &["moved."]), off(&many, &one, &["statistics."]));
    match trial.epochs {
        1 => worst(&moved).max(worst(&statistics)),
        _ => moved[moved.len() / 2].0,
    }
}

/// Fails unless 2 and 3 ranks are one, for one of a few seeds: where the input of a ReLU is within
/// rounding of zero, see ranks.rs.
fn compare(name: &str, work: Work<'_>) {
    let mut faults = Vec::new();
    for seed in 0..6 {
        let trials = [(1, FIRST), (3, LATER)].into_iter().flat_map(|of| [(2, of), (3, of)]);
        let beyond = |(ranks, (epochs, allowed)): (usize, (usize, f64))| {
            let trial = Trial { seed, epochs, lr: 0.05 };
            let off = difference(ranks, |comm| comm, trial, work);
            println!("{name}, {ranks} ranks, {epochs} steps, seed {seed}: {off:.1e}");
            (off > allowed).then(|| format!("{ranks} ranks, {epochs} steps: {off:.1e}"))
        };
        let Some(fault) = trials.into_iter().find_map(beyond) else { return };
        faults.push(fault);
    }
    panic!("{name}: {faults:#?}");
}

/// BatchNorm within ranks and over them, and a transformer that drops branches.
#[test]
fn ranks_fine_tune_as_one() {
    let data = dataset(IMAGES);
    for (recipe, more, drop_path) in [
        ("moco-v1-small", &["model.bn_groups=6"] as &[&str], 0.0),
        ("byol-small", &[], 0.0),
        ("mae-small", &[], 0.3),
    ] {
        let config = plan(recipe, more, &data);
        compare(recipe, &|trial, peers| tuned(&config, drop_path, &data, trial, peers).unwrap());
    }
}

#[test]
fn ranks_distil_as_one() {
    let data = dataset(IMAGES);
    let config = plan("byol-small", &[], &data);
    compare("distillation", &|trial, peers| taught(&config, &data, trial, peers));
}

/// Images that are mixed with those of the own rank alone are seen.
#[test]
fn a_planted_fault_of_mixing_is_seen() {
    let data = dataset(IMAGES);
    let config = plan("mae-small", &[], &data);
    let trial = Trial { seed: 0, epochs: 1, lr: 0.05 };
    let spoil = |inner| Faulty { inner, fault: Fault::OwnImages };
    let off = difference(2, spoil, trial, &|trial, peers| {
        tuned(&config, 0.0, &data, trial, peers).unwrap()
    });
    assert!(off > 10.0 * FIRST, "{off:.1e} is not seen");
}

#[test]
fn batches_that_do_not_split_are_refused() {
    let data = dataset(IMAGES);
    let config = plan("mae-small", &[], &data);
    let trial = Trial { seed: 0, epochs: 1, lr: 0.05 };
    let all = by(5, |comm| comm, |peers| tuned(&config, 0.0, &data, trial, peers).err());
    for refusal in all {
        let refusal = refusal.unwrap().to_string();
        assert!(refusal.contains("24 does not split over 5 ranks"), "{refusal}");
    }
}
