//! A run of several ranks is the run of one: same batches, same gradients, same memories.
//!
//! The ranks are threads of this process, each with a trainer of its own; the first writes
//! checkpoints as a run of one rank does, and these are what is compared.

// How far off each method is, for whoever looks.
#![allow(clippy::print_stdout)]

use crate::device::device;
use crate::resume_methods::{CASES, config_with};
use crate::runs::{Recorder, dataset, options};
use moco::batch::to_host;
use moco::config::RunConfig;
use moco::nn::tensors;
use moco::plan::Plan;
use moco::run::RunDir;
use moco::train::{TrainError, Trainer};
use moco_data::Dataset;
use moco_peers::{Comm, Peers, Threads};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Steps of a run.
const STEPS: usize = 5;

/// What every run here has: batches that 2, 3 and 4 ranks can share, and a checkpoint at each step.
const COMMON: &[&str] = &[
    "train.batch_size=24",
    "train.max_steps=5",
    "train.checkpoint_steps=1",
    "train.keep_checkpoints=9",
];

/// Values by name, of a checkpoint.
pub type State = BTreeMap<String, Vec<f32>>;

fn read(path: &Path) -> State {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| {
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    file.tensors().into_iter().map(|(name, view)| (name, values(view.data()))).collect()
}

/// What a run leaves: its losses, and the state after each step.
struct Left {
    losses: Vec<f64>,
    deviations: Vec<f64>,
    states: Vec<State>,
}

fn left(recorder: &Recorder, dir: &Path) -> Left {
    let run = RunDir::at(dir);
    let states = (1..=STEPS).map(|step| read(&run.checkpoint(step))).collect();
    Left { losses: recorder.losses(), deviations: recorder.deviations(), states }
}

fn alone(config: &Plan, data: &Arc<Dataset>) -> Left {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(config, data.clone(), &device(), options(1)).unwrap();
    let mut recorder = Recorder::default();
    recorder.train(&mut trainer, dir.path()).unwrap();
    left(&recorder, dir.path())
}

/// What ranks that are threads make of `work`, each of which is handed its peers.
pub fn by<C: Comm + 'static, T: Send>(
    ranks: usize,
    spoil: impl Fn(Threads) -> C,
    work: impl Fn(Peers) -> T + Sync,
) -> Vec<T> {
    let comms: Vec<Peers> = Threads::all(ranks).into_iter().map(|c| Peers::new(spoil(c))).collect();
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = comms.iter().map(|&peers| scope.spawn(move || work(peers))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The same run by several ranks, whose messages `spoil` may change.
fn among<C: Comm + 'static>(
    config: &Plan,
    data: &Arc<Dataset>,
    ranks: usize,
    spoil: impl Fn(Threads) -> C,
) -> Result<Left, TrainError> {
    let dir = tempfile::tempdir().unwrap();
    let work = |peers: Peers| {
        let trainer = Trainer::new(config, data.clone(), &device(), options(1))?;
        let mut recorder = Recorder::default();
        recorder.train(&mut trainer.among(peers)?, dir.path())?;
        Ok::<_, TrainError>(recorder)
    };
    let recorders = by(ranks, spoil, work);
    let recorders = recorders.into_iter().collect::<Result<Vec<_>, _>>()?;
    for other in &recorders[1..] {
        assert_eq!(other.losses(), recorders[0].losses(), "all ranks tell the same loss");
    }
    Ok(left(&recorders[0], dir.path()))
}

/// How far each tensor of a kind is off: its largest difference, relative to its largest value, and
/// its name, the worst last. A tensor whose values are small beside those of its kind is measured by
/// these: the gradient of a bias before a BatchNorm is zero but for roundings.
pub fn off(found: &State, expected: &State, kinds: &[&str]) -> Vec<(f64, String)> {
    let of_kinds = |name: &&String| kinds.iter().any(|kind| name.contains(kind));
    let names: Vec<&String> = expected.keys().filter(of_kinds).collect();
    let largest = |values: &[f32]| values.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let of_all = names.iter().map(|name| largest(&expected[*name])).fold(0.0, f64::max);
    let each = names.into_iter().map(|name| {
        let (a, b) = (&found[name], &expected[name]);
        assert_eq!(a.len(), b.len(), "{name}");
        let scale = largest(b).max(1e-2 * of_all).max(1e-30);
        let worst = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        (worst / scale, name.clone())
    });
    let mut all: Vec<(f64, String)> = each.collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

pub fn worst(all: &[(f64, String)]) -> f64 {
    all.last().map_or(0.0, |(off, _)| *off)
}

/// The case of [`CASES`] of that number, with groups that suit several ranks.
fn case(number: usize, more: &[&str], data: &Dataset) -> (&'static str, Plan) {
    let (name, overrides) = CASES[number];
    let groups: &[&str] = match name {
        "moco-v1-small" => &["model.bn_groups=6"],
        "moco-v2-small" => &["model.bn_groups=1", "method.queue=96"],
        "simclr-v2-small" if overrides.contains(&"method.memory=40") => &["method.memory=48"],
        // At the recipes' rates so small a batch makes a rounding grow a hundredfold in each step.
        "byol-small" => &["optim.lr=0.015"],
        "swav-small" => &["method.queue=48", "method.queue_from_epoch=0", "optim.lr=0.0005"],
        _ => &[],
    };
    (name, config_with(&(name, overrides), &[COMMON, groups, more].concat(), data))
}

/// How far the gradients of the first step may be off, each tensor of them, and everything after five
/// steps: what is remembered, and of the weights the tensor in the middle, see the test.
const GRADIENT: f64 = 2e-4;
const MEMORY: f64 = 2e-4;
const STATE: f64 = 1e-4;

/// What several ranks have otherwise than one, if it is beyond rounding.
fn difference(one: &Left, many: &Left) -> Option<String> {
    let (first, last) = ((&many.states[0], &one.states[0]), (&many.states[4], &one.states[4]));
    let gradients = off(first.0, first.1, &["optimizer."]);
    // The mean of what a BatchNorm is given follows a bias before it, which Adam makes of roundings.
    let memory = off(last.0, last.1, &["queue", "bank", "center", "partition", "running_var"]);
    let state = off(last.0, last.1, &["method."]);
    let middle = state[state.len() / 2].0;
    let told = format!(
        "gradients {:?}, memory {:?}, middle of the state {middle:.1e}, deviation off {:.1e}",
        gradients.last(),
        memory.last(),
        many.deviations[0] / one.deviations[0] - 1.0,
    );
    println!("{told}");
    let near = |a: &f64, b: &f64| (a - b).abs() < 1e-3 * b.abs().max(1.0);
    let losses = many.losses.iter().zip(&one.losses).all(|(a, b)| near(a, b));
    // Of the whole batch, not a mean of what the shares deviate.
    let [deviation, expected] = [many, one].map(|of| of.deviations[0]);
    // Whose keys they are is exact.
    let owners = |state: &State| state.get("method.queue.owners").cloned();
    let equal = worst(&gradients) < GRADIENT
        && worst(&memory) < MEMORY
        && middle < STATE
        && losses
        && (deviation - expected).abs() < 1e-5 * expected
        && owners(last.0) == owners(last.1);
    (!equal).then_some(told)
}

/// Fails unless so many ranks are one rank, for one of a few seeds: where the input of a ReLU is
/// within rounding of zero it turns over in another order of sums, which moves whole gradients and
/// says nothing of ranks, while a fault is there for every seed.
fn compare(number: usize, more: &[&str], data: &Arc<Dataset>, counts: &[usize]) {
    let mut faults = Vec::new();
    for seed in 0..6 {
        let seed = format!("train.seed={seed}");
        let (name, config) = case(number, &[more, &[seed.as_str()]].concat(), data);
        let one = alone(&config, data);
        let found = counts.iter().find_map(|&ranks| {
            print!("{name}, {ranks} ranks, {seed}: ");
            let many = among(&config, data, ranks, |comm| comm).unwrap();
            difference(&one, &many).map(|told| format!("{name}, {ranks} ranks, {seed}: {told}"))
        });
        let Some(fault) = found else { return };
        faults.push(fault);
    }
    panic!("{faults:#?}");
}

/// The case of [`CASES`] of a recipe.
fn number(wanted: &str) -> usize {
    CASES.iter().position(|(name, _)| *name == wanted).unwrap()
}

/// Two computations in f32 whose sums are made in another order. After one step the optimiser holds
/// the gradient (or its moments), which then differs by some roundings, more where BatchNorm divides
/// by the deviation of few values: up to 6e-5 was seen. What is remembered after five steps differs by
/// up to 1e-5. Adam makes weights of gradients that are zero but for roundings, so of the weights the
/// tensor in the middle is held to what they differ by.
#[test]
fn every_method_is_the_same_for_any_number_of_ranks() {
    let data = dataset(120);
    (0..CASES.len()).for_each(|number| compare(number, &[], &data, &[2, 3]));
}

/// Four ranks of which each two share a BatchNorm group, and batches in parts.
#[test]
fn groups_over_ranks_and_parts_of_batches_are_the_same() {
    let data = dataset(120);
    compare(number("byol-small"), &["model.bn_groups=2"], &data, &[4]);
    compare(number("moco-v2-small"), &["optim.accumulate=2"], &data, &[2]);
    compare(number("mae-small"), &["optim.accumulate=2"], &data, &[3]);
    compare(number("moco-v1-small"), &["model.bn_groups=4", "optim.accumulate=2"], &data, &[2]);
}

/// Batches in parts whose images are compared with each other, those of all parts of all ranks.
#[test]
fn parts_that_are_compared_as_a_whole_are_the_same() {
    let data = dataset(120);
    let exact = |more: &[&'static str]| {
        [&["optim.accumulate=2", "optim.accumulate_exact=true"], more].concat()
    };
    for name in ["simclr-small", "moco-v3-vit-small", "byol-small"] {
        compare(number(name), &exact(&[]), &data, &[2, 3]);
    }
    compare(number("simclr-v2-small") + 1, &exact(&[]), &data, &[2, 3]);
    compare(number("invaspread-small"), &exact(&["method.gradient=both"]), &data, &[2, 3]);
}

/// A rank that does something wrong with what it hears.
#[derive(Debug)]
pub struct Faulty {
    pub inner: Threads,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The gradient of a gather is what the own loss says, not the sum over ranks.
    GatherWithoutSum,
    /// The backward pass of a shared BatchNorm knows of the own samples only.
    BackwardAlone,
    /// Keys come rank by rank, not by stride; of so many rows of each rank.
    KeysInRankOrder(usize),
    /// Images go to nobody: each rank gets its own.
    OwnImages,
    /// The loss of the last rank is no number.
    LossIsNone,
    /// The last rank hears other gradients than the others.
    OtherGradients,
}

impl Faulty {
    fn is_last(&self) -> bool {
        self.rank() + 1 == self.size()
    }
}

impl Comm for Faulty {
    fn rank(&self) -> usize {
        self.inner.rank()
    }
    fn size(&self) -> usize {
        self.inner.size()
    }
    fn hosts(&self) -> Vec<String> {
        self.inner.hosts()
    }
    fn about(&self) -> String {
        self.inner.about()
    }
    fn sum_f32(&self, x: &mut [f32], what: &'static str) {
        self.inner.sum_f32(x, what);
        if self.fault == Fault::OtherGradients && what == "gradients" && self.is_last() {
            x[0] += 1.0;
        }
    }
    fn sum_f64(&self, x: &mut [f64], what: &'static str) {
        if self.fault == Fault::LossIsNone && what == "loss" && self.is_last() {
            x[0] = f64::NAN;
        }
        let own = x.to_vec();
        self.inner.sum_f64(x, what);
        if self.fault == Fault::BackwardAlone && what == "BatchNorm gradients" {
            x.iter_mut().zip(own).for_each(|(x, own)| *x = own * self.size() as f64);
        }
    }
    fn max_f64(&self, x: &mut [f64], what: &'static str) {
        self.inner.max_f64(x, what);
    }
    fn gather(&self, x: &[u8], what: &'static str) -> Vec<u8> {
        let all = self.inner.gather(x, what);
        match self.fault {
            Fault::KeysInRankOrder(rows) if what == "keys" => {
                // What the interleaving makes rank by rank of.
                let row = x.len() / rows;
                let at = |rank, j| (j * self.size() + rank) * row;
                let places = (0..self.size()).flat_map(|r| (0..rows).map(move |j| (r, j)));
                places.flat_map(|(rank, j)| all[at(rank, j)..][..row].to_vec()).collect()
            }
            _ => all,
        }
    }
    fn reduce_scatter(&self, x: &[f32], what: &'static str) -> Vec<f32> {
        let sum = self.inner.reduce_scatter(x, what);
        match self.fault {
            Fault::GatherWithoutSum => x[self.rank() * sum.len()..][..sum.len()].to_vec(),
            _ => sum,
        }
    }
    fn all_to_all(
        &self,
        x: &[f32],
        sent: &[usize],
        received: &[usize],
        what: &'static str,
    ) -> Vec<f32> {
        let came = self.inner.all_to_all(x, sent, received, what);
        if self.fault == Fault::OwnImages { x.to_vec() } else { came }
    }
    fn broadcast(&self, x: &mut [u8], root: usize, what: &'static str) {
        self.inner.broadcast(x, root, what);
    }
    fn barrier(&self, what: &'static str) {
        self.inner.barrier(what);
    }
    fn abort(&self, code: i32) -> ! {
        self.inner.abort(code)
    }
    fn finish(&self) {}
}

/// The tests above can fail: three faults of those that happen are seen, in the gradients of the
/// first step or in the memory, ten times beyond what is allowed.
#[test]
fn planted_faults_are_seen() {
    let data = dataset(120);
    let faults = [
        ("simclr-small", Fault::GatherWithoutSum, "optimizer."),
        ("invaspread-small", Fault::GatherWithoutSum, "optimizer."),
        ("cpc-small", Fault::GatherWithoutSum, "optimizer."),
        ("byol-small", Fault::BackwardAlone, "optimizer."),
        ("moco-v2-small", Fault::KeysInRankOrder(12), "method.queue.keys"),
    ];
    for (name, fault, kind) in faults {
        // With the reference code's gradient, nothing flows into the vectors of other ranks.
        let flows: &[&str] = match name {
            "invaspread-small" => &["method.gradient=both"],
            _ => &[],
        };
        let (_, config) = case(number(name), flows, &data);
        let one = alone(&config, &data);
        let many = among(&config, &data, 2, |inner| Faulty { inner, fault }).unwrap();
        let off = worst(&off(&many.states[0], &one.states[0], &[kind]));
        assert!(off > 10.0 * GRADIENT, "{name}, {fault:?}: {off:.1e} is not seen");
    }
}

/// What is trained, without the statistics that a forward pass moves.
fn weights(trainer: &mut Trainer) -> Vec<(String, Vec<f32>)> {
    let all = tensors(trainer.method().student()).into_iter();
    let trained = all.filter(|(name, _)| !name.contains("running_"));
    trained.map(|(name, values)| (name, to_host(values))).collect()
}

/// What each of two ranks with a fault says in the end, and the steps of the checkpoints that are left.
fn ended(fault: Fault, config: &Plan, data: &Arc<Dataset>) -> (Vec<String>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let work = |peers: Peers| {
        let trainer = Trainer::new(config, data.clone(), &device(), options(1)).unwrap();
        let mut trainer = trainer.among(peers).unwrap();
        let before = weights(&mut trainer);
        let error = Recorder::default().train(&mut trainer, dir.path()).unwrap_err();
        let same = weights(&mut trainer) == before;
        (error.to_string(), fault != Fault::LossIsNone || same)
    };
    let (errors, same): (Vec<String>, Vec<bool>) =
        by(2, |inner| Faulty { inner, fault }, work).into_iter().unzip();
    assert!(same.iter().all(|same| *same), "the weights are as they were");
    let run = RunDir::at(dir.path());
    (errors, (0..=STEPS).filter(|step| run.checkpoint(*step).exists()).collect())
}

/// One rank whose loss is no number stops all before anything has moved; one whose weights go their own
/// way is found when they are saved, and named.
#[test]
fn a_rank_that_goes_astray_stops_all() {
    let data = dataset(120);
    let (_, config) = case(number("byol-small"), &[], &data);
    let (errors, left) = ended(Fault::LossIsNone, &config, &data);
    assert!(errors.iter().all(|e| e.contains("the loss became NaN at step 0")), "{errors:?}");
    assert!(left.is_empty(), "{left:?}");
    let (errors, left) = ended(Fault::OtherGradients, &config, &data);
    // The rate of the first step is zero.
    let told = |e: &String| e.contains("rank 1 on this process has another state after step 2");
    assert!(errors.iter().all(told), "{errors:?}");
    assert_eq!(left, [1], "what was the same is kept");
}

/// What does not divide is refused before any training, with the numbers that would do.
#[test]
fn what_does_not_divide_is_refused_with_what_would_do() {
    let data = dataset(120);
    let refusal = |name: &str, more: &[&str], ranks: usize| {
        let (_, config) = case(number(name), more, &data);
        among(&config, &data, ranks, |comm| comm).err().expect("a refusal").to_string()
    };
    let batch = refusal("byol-small", &[], 5);
    assert!(batch.contains("does not split over 5 of them: set it to 20 or 25"), "{batch}");
    let groups = refusal("moco-v1-small", &["model.bn_groups=4"], 3);
    assert!(groups.contains("set it to one of 1, 3, 6"), "{groups}");
}

/// A checkpoint holds what is global: it goes on with another number of ranks.
#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let data = dataset(120);
    let (_, config) = case(0, &["train.max_steps=3"], &data);
    let dir = tempfile::tempdir().unwrap();
    for (ranks, steps) in [(2, 2), (1, 3), (3, 5)] {
        let work = |peers: Peers| {
            let run = RunDir::at(dir.path());
            let ends = |config: &mut RunConfig| config.train.max_steps = Some(steps);
            let config = config.changed(ends).unwrap();
            let trainer = if steps == 2 {
                Trainer::new(&config, data.clone(), &device(), options(1)).unwrap()
            } else {
                let settings = vec![format!("train.max_steps={steps}")];
                let changed = moco::train::Changed { settings, ..Default::default() };
                let resume = moco::train::Resume::open(&run, changed).unwrap();
                resume.trainer(&run, data.clone(), &device(), options(1)).unwrap()
            };
            let mut trainer = trainer.among(peers).unwrap();
            Recorder::default().train(&mut trainer, dir.path()).unwrap();
        };
        by(ranks, |comm| comm, work);
    }
    let (_, straight) = case(0, &[], &data);
    let one = alone(&straight, &data);
    let run = RunDir::at(dir.path());
    let off = off(&read(&run.checkpoint(STEPS)), &one.states[STEPS - 1], &["method."]);
    assert!(off[off.len() / 2].0 < STATE, "{:?}", off.last());
}
