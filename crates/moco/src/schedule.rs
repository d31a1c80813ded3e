//! Schedules: pure functions of the position in a run.

use crate::config::{Granularity, OptimConfig, ScheduleConfig, TrainConfig};
use std::f64::consts::PI;

/// Half a cosine from `from` to `to`, at a `progress` of 0..=1.
pub fn cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * progress).cos())
}

/// The learning rate for the run's batch size before any schedule.
pub fn peak_rate(optim: &OptimConfig, train: &TrainConfig) -> f64 {
    optim.lr * train.batch_size as f64 / optim.lr_batch as f64
}

/// The learning rate of a step.
///
/// The peak is `lr * batch_size / lr_batch`. With W warm-up epochs the rate first rises linearly
/// from 0, then follows its shape over the epochs that are left (MoCo v3's form). A schedule per
/// epoch holds the rate of the epoch's start, as MoCo v1 and v2 do.
pub fn learning_rate(
    optim: &OptimConfig,
    train: &TrainConfig,
    step: usize,
    steps_per_epoch: usize,
) -> f64 {
    let peak = peak_rate(optim, train);
    let at = position(optim, step, steps_per_epoch);
    let (warmup, epochs) = (optim.warmup_epochs, train.epochs as f64);
    if at < warmup {
        return peak * at / warmup;
    }
    let passed = |milestones: &[usize]| milestones.iter().filter(|&&m| at >= m as f64).count();
    match &optim.schedule {
        ScheduleConfig::Constant => peak,
        ScheduleConfig::Cosine { end } => cosine(peak, *end, (at - warmup) / (epochs - warmup)),
        ScheduleConfig::Step { milestones, gamma } => peak * gamma.powi(passed(milestones) as i32),
        ScheduleConfig::Factors { milestones, factors } => {
            peak * passed(milestones).checked_sub(1).map_or(1.0, |last| factors[last])
        }
    }
}

/// The weight decay of a step: the same throughout, or along a cosine to its end.
pub fn weight_decay(
    optim: &OptimConfig,
    train: &TrainConfig,
    step: usize,
    steps_per_epoch: usize,
) -> f64 {
    let progress = position(optim, step, steps_per_epoch) / train.epochs as f64;
    optim
        .weight_decay_end
        .map_or(optim.weight_decay, |end| cosine(optim.weight_decay, end, progress))
}

/// Epochs done, in whole ones if the schedule moves once per epoch.
fn position(optim: &OptimConfig, step: usize, steps_per_epoch: usize) -> f64 {
    match optim.granularity {
        Granularity::Epoch => (step / steps_per_epoch) as f64,
        Granularity::Step => step as f64 / steps_per_epoch as f64,
    }
}
