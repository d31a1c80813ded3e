//! A batch computed in parts is the whole batch, where no sample depends on its neighbours.

use crate::device::device;
use crate::golden::difference;
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::{DecayScope, RuleConfig};
use moco::methods::{BankLoss, HeadKind, InstDiscConfig, MaeConfig, MocoConfig};
use moco::methods::{InstDisc, Mae, Method, Moco, Step};
use moco::models::vit::VitConfig;
use moco::models::{Architecture, NetworkSpec};
use moco::nn::{init, tensors};
use moco::optim::Optimizer;
use moco::rng::{Purpose, stream};
use moco::train::{Learnt, Rates, learn};

const BATCH: usize = 8;

/// A transformer: LayerNorm sees one sample at a time, where BatchNorm would see the part.
fn network() -> NetworkSpec {
    let vit = VitConfig::of_size([24, 2, 3], 4, [8, 8]);
    NetworkSpec { architecture: Architecture::Vit(vit), seed: 1 }
}

fn moco() -> Box<dyn Method> {
    let config = MocoConfig {
        queue: 20,
        momentum: 0.9,
        temperature: 0.2,
        dim: 8,
        head: HeadKind::Mlp,
        symmetric: false,
        shuffle_keys: true,
        mask_own_keys: false,
    };
    Box::new(Moco::new(&config, &network(), &device()))
}

fn instdisc() -> Box<dyn Method> {
    let config = InstDiscConfig {
        dim: 8,
        temperature: 0.1,
        bank_momentum: 0.5,
        loss: BankLoss::Softmax,
        negatives: 1,
        proximal: 0.0,
    };
    Box::new(InstDisc::new(&config, &network(), 30, &device()))
}

fn mae() -> Box<dyn Method> {
    let config = MaeConfig {
        mask_ratio: 0.5,
        norm_pixels: true,
        decoder_width: 16,
        decoder_depth: 1,
        decoder_heads: 2,
    };
    Box::new(Mae::new(&config, &network(), &device()))
}

/// What three steps tell, and the whole state after them.
fn train(mut method: Box<dyn Method>, views: usize, parts: usize) -> (Vec<Learnt>, Vec<f32>) {
    let device = device();
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    let mut rng = stream(2, Purpose::Queue, 0);
    let rates = Rates { lr: 0.05, fixed_lr: 0.05, weight_decay: 1e-3 };
    let steps = (0..3).map(|index| {
        let mut view = || -> Tensor<4> { init::normal([BATCH, 8, 8, 3], 1.0, &mut rng, &device) };
        let views = (0..views).map(|_| view()).collect();
        let batch = Batch { indices: (index * BATCH..(index + 1) * BATCH).collect(), views };
        let at = Step { index, total: 3, per_epoch: 3, seed: 5, part: 0 };
        learn(method.as_mut(), &mut sgd, batch, at, &rates, parts).unwrap()
    });
    let learnt = steps.collect();
    let state = tensors(method.as_mut()).into_values().flat_map(to_host).collect();
    (learnt, state)
}

/// How often the right key scored highest, for methods that tell.
fn accuracy(learnt: &Learnt) -> f64 {
    learnt.metrics.iter().find(|(name, _)| *name == "accuracy").map_or(0.0, |(_, value)| *value)
}

/// Two parts sum gradients in another order: a few roundings of f32 per step.
fn check(make: fn() -> Box<dyn Method>, views: usize) {
    let (steps, state) = train(make(), views, 1);
    for parts in [2, 4] {
        let (split_steps, split_state) = train(make(), views, parts);
        for (whole, split) in steps.iter().zip(&split_steps) {
            let off = (whole.loss - split.loss).abs() / whole.loss;
            assert!(off < 1e-5, "{parts} parts: {split:?}, not {whole:?}");
            // A share of the batch's images, which no rounding of f32 changes.
            let off = (accuracy(whole) - accuracy(split)).abs();
            assert!(off < 1e-6, "{parts} parts: {split:?}, not {whole:?}");
        }
        let expected: Vec<f64> = state.iter().map(|v| f64::from(*v)).collect();
        let off = difference(&split_state, &expected);
        assert!(off < 1e-6, "{parts} parts: the state is off by {off:.1e}");
    }
}

#[test]
fn moco_in_parts_is_moco() {
    check(moco, 2);
}

#[test]
fn instance_discrimination_in_parts_is_the_same() {
    check(instdisc, 1);
}

#[test]
fn a_masked_autoencoder_in_parts_is_the_same() {
    check(mae, 1);
}
