//! Optimisers and schedules against torch.

use crate::golden::{Golden, difference, tensor};
use moco::batch::to_host;
use moco::config::{
    DecayScope, Granularity, LarsFlavor, LrScaling, OptimConfig, RuleConfig, ScheduleConfig,
    TrainConfig,
};
use moco::nn::{Module, Param, Visitor, tensors};
use moco::optim::{NamedGradients, Optimizer};
use moco::schedule::{RateSchedule, cosine, weight_decay};

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

/// What the other rules move: a weight, a bias, a BatchNorm scale, and a weight that starts at 0.
struct Four {
    weight: Param<2>,
    bias: Param<1>,
    scale: Param<1>,
    zero: Param<2>,
}

moco::module!(Four { weight, bias, scale, zero });

/// Five steps of one rule; `stored` names its tensors in the file, and `buffers` what the file
/// calls the optimiser's state.
///
/// A handful of f32 operations a step: torch's own f32 is within 2e-7.
fn check_rule(
    file: &str,
    stored: &str,
    rule: RuleConfig,
    scope: DecayScope,
    decay: f64,
    buffers: &[(&str, &str)],
) {
    let golden = Golden::open(file);
    let mut net = Four {
        weight: Param::new(golden.tensor::<2>("weight.initial").autodiff()),
        bias: Param::new(golden.tensor::<1>("bias.initial").autodiff()),
        scale: Param::new(golden.tensor::<1>("scale.initial").autodiff()),
        zero: Param::new(golden.tensor::<2>("zero.initial").autodiff()),
    };
    let mut optimizer = Optimizer::of_rule(rule, scope, None, &mut net);
    for (step, lr) in golden.values("lr").into_iter().enumerate() {
        let at = step as i32;
        let matrix =
            |name: &str| golden.tensor::<3>(name).slice_dim(0, at..at + 1).squeeze_dim::<2>(0);
        let vector =
            |name: &str| golden.tensor::<2>(name).slice_dim(0, at..at + 1).squeeze_dim::<1>(0);
        let loss = (net.weight.val() * matrix("weight.grad")).sum()
            + (net.bias.val() * vector("bias.grad")).sum()
            + (net.scale.val() * vector("scale.grad")).sum()
            + (net.zero.val() * matrix("zero.grad")).sum();
        let gradients = NamedGradients::of(&mut net, &loss.backward());
        optimizer.step(&mut net, gradients, decay, |_| Some(lr));

        let mut found: Vec<_> = tensors(&mut net)
            .into_iter()
            .map(|(name, value)| (format!("{stored}.{name}.param"), value))
            .collect();
        for (name, value) in tensors(&mut optimizer) {
            let (param, state) = name.rsplit_once('.').unwrap();
            let (_, theirs) = buffers.iter().find(|(ours, _)| *ours == state).unwrap();
            found.push((format!("{stored}.{param}.{theirs}"), value));
        }
        for (name, value) in found {
            let (value, all) = (to_host(value), golden.values(&name));
            let off = difference(&value, &all[step * value.len()..][..value.len()]);
            assert!(off < 1e-6, "step {step}, {name}: off by {off:.1e}");
        }
    }
}

#[test]
fn adam_and_adamw_match_torch_step_by_step() {
    let adamw = |beta2| RuleConfig::AdamW { beta1: 0.9, beta2, epsilon: 1e-8 };
    let adam = RuleConfig::Adam { beta1: 0.8, beta2: 0.999, epsilon: 1e-7 };
    for (stored, rule, decay) in
        [("adamw", adamw(0.999), 0.1), ("adamw_mae", adamw(0.95), 0.05), ("adam_cpc", adam, 1e-5)]
    {
        check_rule(
            "adam",
            stored,
            rule,
            DecayScope::All,
            decay,
            &[("first", "m"), ("second", "v")],
        );
    }
}

/// lightly's optimiser is apex's LARC where it decays, and plain SGD on biases and scales. With a
/// trust of 1 solo-learn's limit acts at some steps.
#[test]
fn lars_matches_the_published_flavours() {
    for (stored, flavor, trust, scope) in [
        ("moco_v3", LarsFlavor::Outside, 0.001, DecayScope::Matrices),
        ("simclr", LarsFlavor::Inside, 0.001, DecayScope::Matrices),
        ("apex", LarsFlavor::Larc, 0.001, DecayScope::All),
        ("lightly", LarsFlavor::Larc, 0.001, DecayScope::Matrices),
        ("solo_learn", LarsFlavor::SoloLearn, 0.02, DecayScope::Matrices),
        ("solo_learn_limited", LarsFlavor::SoloLearn, 1.0, DecayScope::Matrices),
    ] {
        let rule = RuleConfig::Lars { momentum: 0.9, trust, flavor };
        check_rule("lars", stored, rule, scope, 0.01, &[("first", "momentum")]);
    }
}

/// A step of plain descent from 0 at a rate of 1 shows the gradient that was used.
#[test]
fn gradients_are_clipped_one_by_one() {
    let golden = Golden::open("clip");
    let grad = |i: usize| {
        let values = golden.f32(&format!("grad.{i}"));
        let n = values.len();
        tensor(values, [n])
    };
    let zeros = |i: usize| Param::new(grad(i).zeros_like().autodiff());
    let mut net: Vec<Param<1>> = (0..3).map(zeros).collect();
    let rule = RuleConfig::Sgd { momentum: 0.0 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, Some(3.0), &mut net);
    let loss = (net[0].val() * grad(0)).sum()
        + (net[1].val() * grad(1)).sum()
        + (net[2].val() * grad(2)).sum();
    let gradients = NamedGradients::of(&mut net, &loss.backward());
    sgd.step(&mut net, gradients, 0.0, |_| Some(1.0));
    for (i, param) in net.iter().enumerate() {
        let off = difference(&to_host(param.val().neg()), &golden.values(&format!("each.{i}")));
        assert!(off < 1e-6, "gradient {i}: off by {off:.1e}");
    }
}

fn configs(lr: f64, schedule: ScheduleConfig, epochs: usize) -> (OptimConfig, TrainConfig) {
    let optim = OptimConfig {
        rule: RuleConfig::Sgd { momentum: 0.9 },
        lr,
        lr_batch: 256,
        lr_scaling: LrScaling::Linear,
        weight_decay: 0.0,
        weight_decay_end: None,
        decay: DecayScope::All,
        clip: None,
        schedule,
        granularity: Granularity::Epoch,
        warmup_epochs: 0.0,
        warmup_start: None,
        warmup_inclusive: None,
        accumulate: 1,
        accumulate_exact: None,
    };
    let train = TrainConfig {
        epochs,
        batch_size: 256,
        max_steps: None,
        precision: None,
        seed: 0,
        checkpoint_steps: 0,
        keep_checkpoints: 1,
        log_steps: 1,
    };
    (optim, train)
}

const STEPS_PER_EPOCH: usize = 13;

fn check(table: &str, optim: &OptimConfig, train: &TrainConfig) {
    check_from(0, "schedules", table, optim, train);
}

/// Compares the rates with a table, from its entry `first` on.
fn check_from(first: usize, file: &str, table: &str, optim: &OptimConfig, train: &TrainConfig) {
    let golden = Golden::open(file).values(table);
    for (i, expected) in golden.iter().enumerate().skip(first) {
        let steps = match optim.granularity {
            Granularity::Epoch => i * STEPS_PER_EPOCH..(i + 1) * STEPS_PER_EPOCH,
            Granularity::Step => i..i + 1,
        };
        for step in steps {
            let lr = RateSchedule::of(optim, train).at(step, STEPS_PER_EPOCH);
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

/// The rates of the other methods' published runs.
#[test]
fn schedules_of_the_methods_match_the_reference_formulas() {
    let file = "method_schedules";
    let falling = |end| ScheduleConfig::Cosine { end };
    let warm = |lr, end, warmup_epochs| {
        let (optim, train) = configs(lr, falling(end), 30);
        (OptimConfig { granularity: Granularity::Step, warmup_epochs, ..optim }, train)
    };
    let drops =
        |milestones: &[usize]| ScheduleConfig::Step { milestones: milestones.to_vec(), gamma: 0.1 };
    let factors =
        ScheduleConfig::Factors { milestones: vec![120, 160, 200], factors: vec![0.1, 0.05, 0.01] };
    // DINO and SwAV reach the peak one step earlier, at the last of the warm-up instead of the
    // first after it, so their warm-up of 10 epochs is left out.
    let after_warmup = 10 * STEPS_PER_EPOCH;
    for (first, table, (optim, train)) in [
        (0, "byol.lr", warm(0.45, 0.0, 10.0)),
        (0, "mae.lr", warm(1.5e-4, 0.0, 4.0)),
        (0, "swav.lr_256", warm(0.6, 6e-4, 0.0)),
        (after_warmup, "swav.lr_4096", warm(4.8, 4.8e-3, 10.0)),
        (after_warmup, "dino.lr", warm(5e-4, 1e-6, 10.0)),
        (0, "simsiam.lr", configs(0.05, falling(0.0), 30)),
        (0, "instdisc_cifar.lr", configs(0.03, drops(&[120, 160]), 200)),
        (0, "invaspread.lr", configs(0.03, factors, 301)),
        (0, "cmc.lr", configs(0.03, drops(&[120, 160, 200]), 240)),
    ] {
        check_from(first, file, table, &optim, &train);
    }
}

/// Momenta and weight decays, which move at every step.
#[test]
fn other_quantities_follow_the_same_cosine() {
    let golden = Golden::open("method_schedules");
    let total = 30 * STEPS_PER_EPOCH;
    let (optim, train) = configs(1.0, ScheduleConfig::Constant, 30);
    let optim = OptimConfig {
        weight_decay: 0.04,
        weight_decay_end: Some(0.4),
        granularity: Granularity::Step,
        ..optim
    };
    for step in 0..total {
        let progress = step as f64 / total as f64;
        for (table, found) in [
            ("moco_v3.momentum", cosine(0.99, 1.0, progress)),
            ("byol.momentum", cosine(0.996, 1.0, progress)),
            ("dino.momentum", cosine(0.996, 1.0, progress)),
            ("dino.weight_decay", weight_decay(&optim, &train, step, STEPS_PER_EPOCH)),
        ] {
            let expected = golden.values(table)[step];
            assert!((found - expected).abs() < 1e-12, "{table}, step {step}: {found}, {expected}");
        }
    }
}

#[test]
fn the_rate_scales_with_the_batch() {
    let (optim, train) = configs(0.03, ScheduleConfig::Constant, 1);
    let double = TrainConfig { batch_size: 512, ..train };
    assert!((RateSchedule::of(&optim, &double).at(0, 1) - 0.06).abs() < 1e-15);
}
