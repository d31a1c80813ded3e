//! Optimisers and schedules against torch.

use crate::golden::{Golden, difference};
use moco::batch::to_host;
use moco::config::{DecayScope, Granularity, OptimConfig, RuleConfig, ScheduleConfig, TrainConfig};
use moco::nn::{Module, Param, Visitor, tensors};
use moco::optim::{NamedGradients, Optimizer};
use moco::schedule::learning_rate;

/// Three parameters of different rank.
struct Three {
    p0: Param<2>,
    p1: Param<1>,
    p2: Param<4>,
}

impl Module for Three {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("p0", &mut self.p0);
        visitor.child("p1", &mut self.p1);
        visitor.child("p2", &mut self.p2);
    }
}

/// Six steps of a few f32 operations: torch's own f32 is within 3e-7.
#[test]
fn sgd_matches_torch_step_by_step() {
    let golden = Golden::open("sgd");
    let mut net = Three {
        p0: Param::new(golden.tensor::<2>("p0.initial").autodiff()),
        p1: Param::new(golden.tensor::<1>("p1.initial").autodiff()),
        p2: Param::new(golden.tensor::<4>("p2.initial").autodiff()),
    };
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, &mut net);
    for (step, lr) in golden.values("lr").into_iter().enumerate() {
        let at = step as i32;
        // A loss whose gradient is the stored one.
        let g0 = golden.tensor::<3>("p0.grad").slice_dim(0, at..at + 1).squeeze_dim::<2>(0);
        let g1 = golden.tensor::<2>("p1.grad").slice_dim(0, at..at + 1).squeeze_dim::<1>(0);
        let g2 = golden.tensor::<5>("p2.grad").slice_dim(0, at..at + 1).squeeze_dim::<4>(0);
        let loss =
            (net.p0.val() * g0).sum() + (net.p1.val() * g1).sum() + (net.p2.val() * g2).sum();
        let gradients = NamedGradients::of(&mut net, &loss.backward());
        sgd.step(&mut net, gradients, 1e-2, |_| Some(lr));

        for (state, what) in [(tensors(&mut net), "param"), (tensors(&mut sgd), "momentum")] {
            for (name, value) in state {
                let value = to_host(value);
                let name = name.trim_end_matches(".first");
                let all = golden.values(&format!("{name}.{what}"));
                let off = difference(&value, &all[step * value.len()..][..value.len()]);
                assert!(off < 1e-6, "step {step}, {name}.{what}: off by {off:.1e}");
            }
        }
    }
}

fn configs(lr: f64, schedule: ScheduleConfig, epochs: usize) -> (OptimConfig, TrainConfig) {
    let optim = OptimConfig {
        rule: RuleConfig::Sgd { momentum: 0.9 },
        lr,
        lr_batch: 256,
        weight_decay: 0.0,
        weight_decay_end: None,
        decay: DecayScope::All,
        clip: None,
        schedule,
        granularity: Granularity::Epoch,
        warmup_epochs: 0.0,
        accumulate: 1,
    };
    let train = TrainConfig {
        epochs,
        batch_size: 256,
        max_steps: None,
        seed: 0,
        checkpoint_steps: 0,
        keep_checkpoints: 1,
        log_steps: 1,
    };
    (optim, train)
}

const STEPS_PER_EPOCH: usize = 13;

fn check(table: &str, optim: &OptimConfig, train: &TrainConfig) {
    let golden = Golden::open("schedules").values(table);
    for (i, expected) in golden.iter().enumerate() {
        let steps = match optim.granularity {
            Granularity::Epoch => i * STEPS_PER_EPOCH..(i + 1) * STEPS_PER_EPOCH,
            Granularity::Step => i..i + 1,
        };
        for step in steps {
            let lr = learning_rate(optim, train, step, STEPS_PER_EPOCH);
            assert!((lr - expected).abs() < 1e-12, "{table}, step {step}: {lr} is not {expected}");
        }
    }
}

#[test]
fn schedules_match_the_reference_formulas() {
    let (mut optim, train) = configs(0.06, ScheduleConfig::Cosine { end: 0.0 }, 200);
    check("cosine_epoch", &optim, &train);
    optim.granularity = Granularity::Step;
    let short = TrainConfig { epochs: 30, ..train.clone() };
    check("cosine_step", &optim, &short);

    let warm = OptimConfig { lr: 0.6, warmup_epochs: 10.0, ..optim };
    check("warmup_cosine_step", &warm, &short);
    check("warmup_cosine_epoch", &OptimConfig { granularity: Granularity::Epoch, ..warm }, &train);

    let drops = ScheduleConfig::Step { milestones: vec![120, 160], gamma: 0.1 };
    let (optim, train) = configs(0.03, drops, 200);
    check("milestones_epoch", &optim, &train);
}

#[test]
fn the_rate_scales_with_the_batch() {
    let (optim, train) = configs(0.03, ScheduleConfig::Constant, 1);
    let double = TrainConfig { batch_size: 512, ..train };
    assert!((learning_rate(&optim, &double, 0, 1) - 0.06).abs() < 1e-15);
}
