//! MoCo against PyTorch, ten steps from the same weights and views, and the method's invariants.

use crate::device::device;
use crate::golden::{
    Golden, assert_close, resnet18_w4, set_tensors, stored_batch, tensor, torch_name,
};
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, FeatureKind, RuleConfig};
use moco::methods::{HeadKind, MocoConfig};
use moco::methods::{Method, Moco, Step};
use moco::nn::{Leaf, Mode, Module, for_each_leaf, for_each_param, tensors};
use moco::optim::{NamedGradients, Optimizer};
use moco::parts::{KeyShuffle, Queue, ema};

const STEPS: usize = 10;
const BATCH: usize = 8;
const DIM: usize = 16;
const KEYS: usize = 22;

struct Variant {
    name: &'static str,
    head: HeadKind,
    temperature: f64,
    groups: usize,
    symmetric: bool,
}

const V1: Variant =
    Variant { name: "v1", head: HeadKind::Linear, temperature: 0.1, groups: 2, symmetric: false };
const V2: Variant =
    Variant { name: "v2", head: HeadKind::Mlp, temperature: 0.2, groups: 1, symmetric: false };
const SYMMETRIC: Variant = Variant { name: "symmetric", symmetric: true, ..V1 };

impl Variant {
    fn method(&self) -> Moco {
        self.method_with(0.9)
    }

    fn method_with(&self, momentum: f64) -> Moco {
        let config = MocoConfig {
            queue: KEYS,
            momentum,
            temperature: self.temperature,
            dim: DIM,
            head: self.head,
            symmetric: self.symmetric,
            shuffle_keys: self.groups > 1,
            mask_own_keys: false,
        };
        Moco::new(&config, &resnet18_w4(self.groups), &device())
    }

    fn mlp(&self) -> bool {
        self.head == HeadKind::Mlp
    }

    /// The method with the weights and the queue that PyTorch started from.
    fn golden_method(&self, golden: &Golden) -> Moco {
        self.golden_method_with(golden, 0.9)
    }

    fn golden_method_with(&self, golden: &Golden, momentum: f64) -> Moco {
        let mut moco = self.method_with(momentum);
        set_tensors(&mut moco, |name| {
            if name == "queue.keys" {
                let columns = golden.tensor::<2>("queue_initial");
                return Some(to_host(columns.transpose()));
            }
            if name == "queue.owners" {
                return None;
            }
            let name = name.trim_start_matches("query.").trim_start_matches("key.");
            let is_statistic = name.contains("running_");
            let initial = || golden.f32(&format!("initial.{}", torch_name(name, self.mlp())));
            (!is_statistic).then(initial)
        });
        moco
    }
}

fn batch(golden: &Golden, step: usize) -> Batch {
    stored_batch(golden, step, &["view1", "view2"])
}

fn shuffles(golden: &Golden, variant: &Variant, step: usize) -> [KeyShuffle; 2] {
    let passes = if variant.symmetric { 2 } else { 1 };
    [0, 1].map(|direction| {
        let identity = || (0..BATCH).collect();
        let stored = || {
            let at = (step * passes + direction) * BATCH;
            golden.indices("perm")[at..at + BATCH].to_vec()
        };
        let known = variant.groups > 1 && direction < passes;
        KeyShuffle::new(if known { stored() } else { identity() }, &device())
    })
}

/// Loss at each of ten steps, then both encoders with BatchNorm statistics, queue and pointer.
///
/// torch's own f32 stays within 1e-6 of its f64 in the losses and within 3e-6 in the final state
/// (golden/MANIFEST.json): the starts were chosen so that no ReLU comes near its kink. Sums in
/// another order may go several times as far: 5e-6 and 2e-5.
fn check_trajectory(variant: &Variant) {
    let golden = Golden::open(&format!("moco_trajectory_{}", variant.name));
    let mut moco = variant.golden_method(&golden);
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, moco.student());
    let expected = golden.values("loss");
    let rates = golden.values("lr");
    for step in 0..STEPS {
        let output =
            moco.loss_with(&batch(&golden, step), &at(step), &shuffles(&golden, variant, step));
        let loss = f64::from(to_host(output.loss.clone())[0]);
        let off = (loss - expected[step]).abs() / expected[step];
        assert!(off < 5e-6, "{}, step {step}: loss {loss}, off by {off:.1e}", variant.name);
        let gradients = NamedGradients::of(moco.student(), &output.loss.backward());
        sgd.step(moco.student(), gradients, 5e-4, |_| Some(rates[step]));
        moco.after_update(&at(step));
    }

    for_each_leaf(&mut moco, |name, leaf| match leaf {
        Leaf::Counter(pointer) => assert_eq!(*pointer as f64, golden.scalar("ptr"), "{name}"),
        Leaf::Param(found) | Leaf::Buffer(found) if name == "queue.keys" => {
            let rows: Tensor<2> = found.flat().reshape([KEYS, DIM]);
            assert_close(rows.transpose(), &golden, "queue", 2e-5);
        }
        Leaf::Buffer(_) if name == "queue.owners" => {}
        Leaf::Param(found) | Leaf::Buffer(found) => {
            let (side, inner) = name.split_once('.').unwrap();
            let name = format!("{side}.{}", torch_name(inner, variant.mlp()));
            assert_close(found.flat(), &golden, &name, 2e-5);
        }
    });
}

fn at(index: usize) -> Step {
    Step { index, total: STEPS, per_epoch: STEPS, seed: 3, part: 0 }
}

#[test]
fn v1_trajectory_matches_torch() {
    check_trajectory(&V1);
}

#[test]
fn v2_trajectory_matches_torch() {
    check_trajectory(&V2);
}

#[test]
fn symmetric_trajectory_matches_torch() {
    check_trajectory(&SYMMETRIC);
}

/// METHODS test (a): the loss sees the queue as it was before this batch's keys.
#[test]
fn loss_uses_the_queue_before_enqueue() {
    let golden = Golden::open("moco_trajectory_v1");
    let mut moco = V1.golden_method(&golden);
    let before = queue(&mut moco);
    let output = moco.loss_with(&batch(&golden, 0), &at(0), &shuffles(&golden, &V1, 0));
    assert_eq!(queue(&mut moco), before, "computing the loss must not touch the queue");
    let first = f64::from(to_host(output.loss)[0]);
    assert!((first - golden.values("loss")[0]).abs() < 1e-4);
    moco.after_update(&at(0));
    let after = queue(&mut moco);
    assert_ne!(after[..BATCH * DIM], before[..BATCH * DIM]);
    assert_eq!(after[BATCH * DIM..], before[BATCH * DIM..], "only the oldest rows are replaced");
}

fn queue(moco: &mut Moco) -> Vec<f32> {
    to_host(tensors(moco)["queue.keys"].clone())
}

/// METHODS test (c): shuffling and unshuffling changes no key while BatchNorm is in evaluation.
#[test]
fn shuffle_and_undo_are_inverse() {
    let shuffle = KeyShuffle::draw(31, 5, 9, &device());
    let rows = tensor((0..62).map(|v| v as f32).collect(), [31, 2]);
    let shuffled = shuffle.apply(rows.clone());
    assert_ne!(to_host(shuffled.clone()), to_host(rows.clone()));
    assert_eq!(to_host(shuffle.undo(shuffled)), to_host(rows));

    let golden = Golden::open("moco_trajectory_v1");
    let mut moco = V1.golden_method(&golden);
    let x = batch(&golden, 0).views.remove(0);
    let shuffle = KeyShuffle::draw(BATCH, 5, 0, &device());
    let mut keys = |x| moco.encoder().embed(x, FeatureKind::Head, Mode::Eval);
    let plain = to_host(keys(x.clone()));
    let through = to_host(shuffle.undo(keys(shuffle.apply(x))));
    let off = plain.iter().zip(&through).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-5, "off by {off:.1e}");
}

/// METHODS test (d): no gradient reaches the key encoder, or the queue.
#[test]
fn key_encoder_has_no_gradient() {
    let mut moco = V1.method();
    let golden = Golden::open("moco_trajectory_v1");
    let output = moco.loss(&batch(&golden, 0), &at(0));
    let gradients = output.loss.backward();
    let (mut query, mut key) = (0, 0);
    for_each_param(&mut moco, |name, param| match param.gradient(&gradients) {
        Some(_) => query += usize::from(name.starts_with("query.")),
        None => key += usize::from(name.starts_with("key.")),
    });
    let per_encoder = count_tensors(moco.student());
    assert_eq!((query, key), (per_encoder, per_encoder));
}

fn count_tensors(module: &mut dyn Module) -> usize {
    let mut count = 0;
    for_each_param(module, |_, _| count += 1);
    count
}

/// METHODS test (e): the average is exact to the rounding of its three f32 operations, covers
/// every parameter and leaves BatchNorm statistics alone.
#[test]
fn moving_average_is_exact_and_covers_parameters_only() {
    let golden = Golden::open("moco_trajectory_v2");
    let mut query = V2.golden_method(&golden);
    let mut key = V2.method();
    key.loss(&batch(&golden, 0), &at(0)); // moves the key's statistics off their start
    let (before, source) = (tensors(&mut key), tensors(&mut query));
    ema::update(&mut key, &mut query, 0.999);
    for_each_leaf(&mut key, |name, leaf| {
        let host = |all: &std::collections::BTreeMap<String, Tensor<1>>| to_host(all[name].clone());
        match leaf {
            Leaf::Param(param) => {
                let found = to_host(param.flat());
                for ((k, q), found) in host(&before).iter().zip(host(&source)).zip(found) {
                    let exact = 0.999 * f64::from(*k) + (1.0 - 0.999) * f64::from(q);
                    let ulp = f64::from(f32::EPSILON) * f64::from(k.abs().max(q.abs()));
                    assert!((f64::from(found) - exact).abs() <= 1.5 * ulp, "{name}");
                }
            }
            Leaf::Buffer(buffer) => assert_eq!(to_host(buffer.flat()), host(&before), "{name}"),
            Leaf::Counter(_) => {}
        }
    });
}

/// With a momentum of 0 the key encoder is the query encoder of the step, pre-update.
#[test]
fn average_is_taken_before_the_keys() {
    let golden = Golden::open("moco_trajectory_v2");
    let mut moco = V2.method();
    let query_before = {
        let all = tensors(&mut moco);
        to_host(all["query.head.1.weight"].clone())
    };
    moco.loss(&batch(&golden, 0), &at(0));
    let all = tensors(&mut moco);
    let key = to_host(all["key.head.1.weight"].clone());
    let off = key.iter().zip(&query_before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= 1e-7, "both start equal, so the first average changes nothing: {off}");
}

#[test]
fn loss_repeats_and_depends_on_the_step_through_the_shuffle_only() {
    let golden = Golden::open("moco_trajectory_v1");
    let loss = |step| {
        let mut moco = V1.golden_method(&golden);
        to_host(moco.loss(&batch(&golden, 0), &at(step)).loss)[0]
    };
    assert_eq!(loss(4), loss(4));
    assert_ne!(loss(4), loss(5));
}

#[test]
fn queue_of_any_length_takes_batches_of_any_size() {
    for (length, batches) in [(7, [3, 5, 7]), (1, [1, 2, 3]), (20, [8, 8, 8])] {
        let mut queue = Queue::new(length, 2, 0, &device());
        let mut model: Vec<f32> = to_host(queue.keys());
        let (mut pointer, mut next) = (0, 100.0);
        for n in batches {
            let new: Vec<f32> = (0..n).map(|i| next + i as f32).collect();
            for v in &new {
                model[2 * pointer] = *v;
                model[2 * pointer + 1] = *v;
                pointer = (pointer + 1) % length;
            }
            next += 1000.0;
            let images: Vec<usize> = (0..n).collect();
            queue.enqueue(tensor(new.iter().flat_map(|v| [*v; 2]).collect(), [n, 2]), &images);
            assert_eq!(to_host(queue.keys()), model, "length {length}, batch {n}");
        }
    }
}

/// Two passes over related views, from the same start; the mean loss of the last steps against
/// real keys, which cannot fall while the keys change under the queue.
fn loss_after_training(momentum: f64) -> f64 {
    let golden = Golden::open("moco_trajectory_v2");
    let mut moco = V2.golden_method_with(&golden, momentum);
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, moco.student());
    let mut tail = 0.0;
    const ROUNDS: usize = 8;
    for index in 0..ROUNDS * STEPS {
        let batch = batch(&golden, index % STEPS);
        let loss = moco.loss(&batch, &at(index)).loss;
        if index >= (ROUNDS - 1) * STEPS {
            tail += f64::from(to_host(loss.clone())[0]) / STEPS as f64;
        }
        let gradients = NamedGradients::of(moco.student(), &loss.backward());
        sgd.step(moco.student(), gradients, 5e-4, |_| Some(0.05));
        moco.after_update(&at(index));
    }
    tail
}

/// He et al. 2020, Sec. 4.1, "Ablation: momentum": without the moving average the keys in the queue
/// are those of other networks, and the loss ends higher.
#[test]
fn without_momentum_the_loss_ends_higher() {
    let (with, without) = (loss_after_training(0.99), loss_after_training(0.0));
    assert!(without > 1.1 * with, "loss {without:.3} with m = 0, {with:.3} with m = 0.99");
}
