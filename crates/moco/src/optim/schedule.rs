//! Learning-rate schedules.

use crate::config::{Granularity, OptimConfig, ScheduleConfig, TrainConfig};
use std::f64::consts::PI;

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
    let peak = optim.lr * train.batch_size as f64 / optim.lr_batch as f64;
    let at = match optim.granularity {
        Granularity::Epoch => (step / steps_per_epoch) as f64,
        Granularity::Step => step as f64 / steps_per_epoch as f64,
    };
    let (warmup, epochs) = (optim.warmup_epochs, train.epochs as f64);
    if at < warmup {
        return peak * at / warmup;
    }
    match &optim.schedule {
        ScheduleConfig::Constant => peak,
        ScheduleConfig::Cosine => {
            peak * 0.5 * (1.0 + (PI * (at - warmup) / (epochs - warmup)).cos())
        }
        ScheduleConfig::Step { milestones, gamma } => {
            let drops = milestones.iter().filter(|&&epoch| at >= epoch as f64).count();
            peak * gamma.powi(drops as i32)
        }
    }
}
