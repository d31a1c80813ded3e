//! Every method against numbers of its published code: four steps from the same start and views.
//!
//! `golden/official/` holds what the published training codes gave, and `golden/README.md` says
//! how. With `MOCO_GOLDEN_OFFICIAL` set, files of the same names are read from that folder instead,
//! such as those of other seeds.

mod banks;
mod byol;
mod cpc;
mod dino;
mod mae;
mod moco_v1_v2;
mod moco_v3;
mod simclr;
mod simsiam;
mod swav;

use crate::golden::{Golden, difference, set_tensors, tensor};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::device::cpu_kernels;
use moco::layout::Layout;
use moco::methods::{Method, Step, StepOutput};
use moco::nn::{Leaf, Module, for_each_leaf};
use moco::optim::{NamedGradients, Optimizer};
use moco_kernels::Isa;
use moco_peers::{Peers, Threads};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;

/// Steps of every trajectory, two epochs of two.
const STEPS: usize = 4;

/// Numbers of a published code, and what is known of how they were made.
struct Official {
    tensors: Golden,
    facts: Value,
    /// What may differ where a ReLU changes sides, see [`Official::beside_a_kink`].
    kink: Kink,
    /// The ranks that share the published batches.
    peers: Peers,
}

/// Does the same on two ranks, each a thread.
fn on_two_ranks(work: impl Fn(Peers) + Sync) {
    thread::scope(|scope| {
        for rank in Threads::all(2) {
            let (work, peers) = (&work, Peers::new(rank));
            scope.spawn(move || work(peers));
        }
    });
}

fn folder() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/official");
    std::env::var_os("MOCO_GOLDEN_OFFICIAL").map_or(own, PathBuf::from)
}

/// How far off a computation may be in which a ReLU has changed sides.
#[derive(Clone, Copy, Default)]
struct Kink {
    state: f64,
    loss: f64,
}

/// Whether Burn's own operations compute.
fn stock() -> bool {
    cpu_kernels().is_none()
}

/// Where step `index` stands.
fn at(index: usize) -> Step {
    Step { index, total: STEPS, per_epoch: 2, seed: 0, part: 0 }
}

impl Official {
    fn open(name: &str) -> Self {
        let path = folder().join(name);
        let facts = std::fs::read_to_string(path.with_extension("json")).expect("a JSON beside it");
        Self {
            tensors: Golden::at(&path.with_extension("safetensors")),
            facts: serde_json::from_str(&facts).expect("valid JSON"),
            kink: Kink::default(),
            peers: Peers::SOLO,
        }
    }

    /// As one of several ranks, which has its share of the images.
    fn among(self, peers: Peers) -> Self {
        Self { peers, ..self }
    }

    /// For a file in which the input of a ReLU is so near 0 that the roundings of some computations turn
    /// it over; `turns` says whether the one that runs is among them. All others are held to the usual
    /// tolerance.
    fn beside_a_kink(self, turns: bool, kink: Kink) -> Self {
        Self { kink: if turns { kink } else { Kink::default() }, ..self }
    }

    /// A setting of the published run.
    fn setting(&self, name: &str) -> f64 {
        let value = &self.facts["hyper_parameters"][name];
        value.as_f64().unwrap_or_else(|| panic!("no number for {name}: {value}"))
    }

    /// The view called `name` at a step, `[N, H, W, 3]`. Images of several ranks come in turns:
    /// our BatchNorm group g holds the images n with n mod groups = g.
    fn view(&self, name: &str, step: usize) -> Tensor<4> {
        let mut shape = self.tensors.shape(name);
        let (ranks, inner) = match shape.len() {
            6 => (shape[1], shape.split_off(2)),
            _ => (1, shape.split_off(1)),
        };
        let [n, c, h, w] = inner.try_into().expect("images");
        let count = ranks * n * c * h * w;
        let values = &self.tensors.f32(name)[step * count..][..count];
        let images: Tensor<5> = tensor(values.to_vec(), [ranks, n, c, h, w]);
        let images = images.swap_dims(0, 1).reshape([n * ranks, c, h, w]).permute([0, 2, 3, 1]);
        let own = self.peers.share(n * ranks).map(|row| images.clone().narrow(0, row, 1));
        Tensor::cat(own.collect(), 0)
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.names().iter().any(|known| known == name)
    }

    fn not_comparable(&self) -> BTreeSet<String> {
        let names = self.facts["not_comparable"].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(String::from)).collect()
    }

    /// Gives every tensor that the published code starts from its value there. A teacher that the
    /// file lacks starts as its student.
    fn start(&self, method: &mut dyn Module, layout: Layout) {
        let known = |name: &str| {
            let name = format!("initial.{}", layout.official_name(name)?);
            let student = name.replace("teacher.", "student.");
            [name, student].into_iter().find(|name| self.has(name))
        };
        set_tensors(method, |name| Some(self.values(&known(name)?)));
        for_each_leaf(method, |name, leaf| {
            if let Leaf::Param(_) = leaf {
                assert!(known(name).is_some(), "{name}");
            }
        });
    }

    /// Values in our order: a queue of columns becomes one of rows.
    fn values(&self, name: &str) -> Vec<f32> {
        match name.ends_with(".queue") && self.tensors.shape(name).len() == 2 {
            true => to_host(self.tensors.tensor::<2>(name).transpose()),
            false => self.tensors.f32(name),
        }
    }

    /// How far a state may be from the published code's f64 run, relative to the largest magnitude
    /// of the same tensor: ten times what that code's own f32 run is, which the file names, since our
    /// sums are in another order and Winograd convolutions round a few times as much. Twenty times for
    /// the portable kernels, which round each product before they add it.
    fn state_tolerance(&self) -> f64 {
        let measured = self.facts["float32_against_float64"].as_object().expect("what f32 costs");
        let tensors = measured.values().filter_map(Value::as_object).flat_map(|t| t.values());
        let largest = tensors.filter_map(Value::as_f64).fold(0.0, f64::max);
        let times = if cpu_kernels() == Some(Isa::Portable) { 20.0 } else { 10.0 };
        (times * largest).max(2e-5).max(self.kink.state)
    }

    /// Likewise for the losses, but no less than what the roundings of an instruction set move them by:
    /// 7e-6 between AVX2 and AVX-512 in the fourth step of two ranks.
    fn loss_tolerance(&self) -> f64 {
        let (exact, single) = (self.tensors.values("loss"), self.tensors.values("loss_float32"));
        let off = exact.iter().zip(single).map(|(a, b)| (a - b).abs() / a.abs());
        (10.0 * off.fold(0.0, f64::max)).max(1e-5).max(self.kink.loss)
    }

    /// Fails unless every tensor is that of the published code at the end, and every tensor of the
    /// file but those of `left` has one of ours.
    ///
    /// What is 0 but for rounding is left out: tensors that the file names, and the keys' third of
    /// a qkv bias, which the softmax of attention takes out.
    fn compare(&self, method: &mut dyn Module, layout: Layout, left: &[&str]) {
        let tolerance = self.state_tolerance();
        let noise = self.not_comparable();
        let mut seen = noise.clone();
        let mut faults = Vec::new();
        for_each_leaf(method, |name, leaf| {
            let Some(name) = layout.official_name(name).map(|name| format!("final.{name}")) else {
                return;
            };
            let found = match leaf {
                Leaf::Param(found) | Leaf::Buffer(found) => to_host(found.flat()),
                Leaf::Counter(count) => vec![*count as f32],
            };
            if !self.has(&name) || left.iter().any(|left| name.contains(left)) {
                return;
            }
            let (mut found, mut expected) = (found, self.values(&name));
            if noise.contains(&name) && !name.ends_with("attn.qkv.bias") {
                return;
            }
            if name.ends_with("attn.qkv.bias") {
                let third = found.len() / 3;
                found.drain(third..2 * third);
                expected.drain(third..2 * third);
            }
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            let off = difference(&found, &expected);
            if off > tolerance {
                faults.push(format!("{name}: relative difference {off:.1e}"));
            }
            seen.insert(name);
        });
        assert!(faults.is_empty(), "beyond {tolerance:.0e}: {faults:#?}");
        let expected = |name: &String| {
            let counter = name.ends_with("num_batches_tracked");
            name.starts_with("final.") && !counter && !left.iter().any(|left| name.contains(left))
        };
        let missed: Vec<_> = self
            .tensors
            .names()
            .into_iter()
            .filter(expected)
            .filter(|n| !seen.contains(n))
            .collect();
        assert!(missed.is_empty(), "nothing of ours is {missed:?}");
    }

    /// Trains for four steps; each loss must be that of the published code. Rates are the file's; a
    /// second column is that of what keeps its rate.
    fn train<M: Method>(
        &self,
        method: &mut M,
        optimizer: &mut Optimizer,
        weight_decay: impl Fn(usize) -> f64,
        loss: impl Fn(&mut M, usize) -> StepOutput,
    ) {
        let (losses, rates) = (self.mean_losses(), self.tensors.values("lr"));
        let (columns, tolerance) = (rates.len() / STEPS, self.loss_tolerance());
        for step in 0..STEPS {
            let output = loss(method, step);
            let mut found = [f64::from(to_host(output.loss.clone())[0])];
            self.peers.sum_f64(&mut found, "loss");
            let found = found[0] / self.peers.size() as f64;
            let off = (found - losses[step]).abs() / losses[step].abs();
            assert!(off < tolerance, "step {step}: loss {found}, off by {off:.1e}");
            let mut gradients = NamedGradients::of(method.student(), &output.loss.backward());
            gradients.average(self.peers);
            let (lr, fixed) = (rates[step * columns], rates[step * columns + columns - 1]);
            let treatment = method.treatment(&at(step));
            optimizer.step(method.student(), gradients, weight_decay(step), |name| {
                treatment.rate(name, lr, fixed)
            });
            method.after_update(&at(step));
        }
    }

    /// The loss of each step, the mean over ranks.
    fn mean_losses(&self) -> Vec<f64> {
        let losses = self.tensors.values("loss");
        let ranks = losses.len() / STEPS;
        losses.chunks(ranks).map(|step| step.iter().sum::<f64>() / ranks as f64).collect()
    }
}
