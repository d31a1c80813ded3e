//! Schedules: pure functions of the position in a run.

use crate::config::{Granularity, LrScaling, OptimConfig, ScheduleConfig, TrainConfig};
use std::f64::consts::PI;

/// Half a cosine from `from` to `to`, at a `progress` of 0..=1.
pub fn cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * progress).cos())
}

/// The learning rate for the run's batch size before any schedule.
pub fn peak_rate(optim: &OptimConfig, train: &TrainConfig) -> f64 {
    let batches = train.batch_size as f64 / optim.lr_batch as f64;
    optim.lr
        * match optim.lr_scaling {
            LrScaling::Linear => batches,
            LrScaling::SquareRoot => batches.sqrt(),
        }
}

/// A learning rate over a run: a line up to the peak, then its shape over what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct RateSchedule {
    /// The highest rate.
    pub peak: f64,
    /// Epochs of linear warm-up, fewer than `epochs`.
    pub warmup_epochs: f64,
    /// The rate at which the warm-up begins.
    pub start: f64,
    /// Whether the warm-up's last step is at the peak already.
    pub inclusive: bool,
    /// Epochs of the run.
    pub epochs: usize,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Whether the rate moves at every step, or holds what it was at its epoch's start.
    pub granularity: Granularity,
}

/// How a rate falls after its warm-up.
#[derive(Clone, Debug, PartialEq)]
pub enum Decay {
    /// It does not.
    Constant,
    /// Along half a cosine to this rate.
    Cosine(f64),
    /// From each of these epochs on, ascending and counted from the begin of the run, a share of the
    /// peak: (epoch, share).
    Steps(Vec<(f64, f64)>),
}

impl RateSchedule {
    /// The learning rate of a pre-training run as a function of the step.
    ///
    /// The peak is `lr * batch_size / lr_batch`. With W warm-up epochs the rate first rises linearly
    /// from `warmup_start`, then follows its shape over the epochs that are left (MoCo v3's form). A
    /// schedule per epoch holds the rate of the epoch's start, as MoCo v1 and v2 do.
    pub fn of(optim: &OptimConfig, train: &TrainConfig) -> Self {
        let decay = match &optim.schedule {
            ScheduleConfig::Constant => Decay::Constant,
            ScheduleConfig::Cosine { end } => Decay::Cosine(*end),
            ScheduleConfig::Step { milestones, gamma } => {
                Decay::drops(milestones.iter().map(|&epoch| epoch as f64), *gamma)
            }
            ScheduleConfig::Factors { milestones, factors } => {
                let epochs = milestones.iter().map(|&epoch| epoch as f64);
                Decay::Steps(epochs.zip(factors.iter().copied()).collect())
            }
        };
        Self {
            peak: peak_rate(optim, train),
            warmup_epochs: optim.warmup_epochs,
            start: optim.warmup_start.unwrap_or(0.0),
            inclusive: optim.warmup_inclusive == Some(true),
            epochs: train.epochs,
            decay,
            granularity: optim.granularity,
        }
    }

    /// The rate of step `step`, from 0, in a run of `per_epoch` steps an epoch.
    pub fn at(&self, step: usize, per_epoch: usize) -> f64 {
        let at = position(self.granularity, step, per_epoch);
        let (peak, warmup) = (self.peak, self.warmup_epochs);
        if at < warmup {
            let last = match (self.inclusive, self.granularity) {
                (false, _) => warmup,
                (true, Granularity::Epoch) => warmup - 1.0,
                (true, Granularity::Step) => warmup - 1.0 / per_epoch as f64,
            };
            // A warm-up of one step is at the peak; the last of several may be rounded past it.
            let share = if at < last { at / last } else { 1.0 };
            return self.start + (peak - self.start) * share;
        }
        match &self.decay {
            Decay::Constant => peak,
            Decay::Cosine(end) => cosine(peak, *end, (at - warmup) / (self.epochs as f64 - warmup)),
            Decay::Steps(steps) => {
                let last = steps.iter().rev().find(|(epoch, _)| at >= *epoch);
                last.map_or(peak, |(_, share)| peak * share)
            }
        }
    }
}

impl Decay {
    /// Multiplied by `factor` at each of the epochs.
    pub fn drops(epochs: impl Iterator<Item = f64>, factor: f64) -> Self {
        Self::Steps((1..).zip(epochs).map(|(i, epoch)| (epoch, factor.powi(i))).collect())
    }
}

/// The weight decay of a step: the same throughout, or along a cosine to its end.
pub fn weight_decay(
    optim: &OptimConfig,
    train: &TrainConfig,
    step: usize,
    steps_per_epoch: usize,
) -> f64 {
    let progress = position(optim.granularity, step, steps_per_epoch) / train.epochs as f64;
    optim
        .weight_decay_end
        .map_or(optim.weight_decay, |end| cosine(optim.weight_decay, end, progress))
}

/// Epochs done, in whole ones if the schedule moves once per epoch.
fn position(granularity: Granularity, step: usize, steps_per_epoch: usize) -> f64 {
    match granularity {
        Granularity::Epoch => (step / steps_per_epoch) as f64,
        Granularity::Step => step as f64 / steps_per_epoch as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_held_within_an_epoch_where_they_are_to_be() {
        let steps = RateSchedule {
            peak: 2.0,
            warmup_epochs: 1.0,
            start: 0.0,
            inclusive: false,
            epochs: 5,
            decay: Decay::Cosine(0.0),
            granularity: Granularity::Step,
        };
        let epochs = RateSchedule { granularity: Granularity::Epoch, ..steps.clone() };
        for step in 0..50 {
            assert_eq!(epochs.at(step, 10), steps.at(step / 10 * 10, 10), "step {step}");
        }
        assert_eq!([0, 5, 10].map(|step| steps.at(step, 10)), [0.0, 1.0, 2.0]);
        let above = RateSchedule { start: 0.4, ..steps.clone() };
        let rates = [0, 5, 10].map(|step| above.at(step, 10));
        assert!(rates.iter().zip([0.4, 1.2, 2.0]).all(|(a, b)| (a - b).abs() < 1e-15), "{rates:?}");
        // `numpy.linspace(0.4, 2, 10)`, then the cosine as it was.
        let inclusive = RateSchedule { inclusive: true, ..above.clone() };
        for step in 0..10 {
            let expected = 0.4 + 1.6 * step as f64 / 9.0;
            assert!((inclusive.at(step, 10) - expected).abs() < 1e-15, "step {step}");
        }
        assert_eq!((10..50).find(|&step| inclusive.at(step, 10) != above.at(step, 10)), None);
        let short = RateSchedule { warmup_epochs: 0.1, ..inclusive };
        assert_eq!(short.at(0, 10), 2.0);
        // Halfway between the warm-up and the end: half the peak.
        assert!((steps.at(30, 10) - 1.0).abs() < 1e-15);
    }
}
