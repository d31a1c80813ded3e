//! The learning rate of a probe and of fine-tuning: a pure function of the position in its run.

use crate::config::Granularity;
use crate::schedule::cosine;

/// How a rate falls after its warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Along half a cosine to 0.
    Cosine,
    /// To a tenth after each of these percentages of the epochs, warm-up included.
    Drops([usize; 2]),
}

/// A line from 0 to the peak, then a decay to the end of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateSchedule {
    /// The highest rate.
    pub peak: f64,
    /// Epochs of linear warm-up, fewer than `epochs`.
    pub warmup_epochs: f64,
    /// Epochs of the run.
    pub epochs: usize,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Whether the rate moves at every step, or holds what it was at its epoch's start.
    pub granularity: Granularity,
}

impl RateSchedule {
    /// The rate of step `step`, from 0, in a run of `per_epoch` steps an epoch.
    pub fn at(&self, step: usize, per_epoch: usize) -> f64 {
        let step = match self.granularity {
            Granularity::Epoch => step / per_epoch * per_epoch,
            Granularity::Step => step,
        };
        let at = step as f64 / per_epoch as f64;
        if at < self.warmup_epochs {
            return self.peak * at / self.warmup_epochs;
        }
        match self.decay {
            Decay::Cosine => {
                let rest = self.epochs as f64 - self.warmup_epochs;
                cosine(self.peak, 0.0, (at - self.warmup_epochs) / rest)
            }
            Decay::Drops(percentages) => {
                let total = self.epochs * per_epoch;
                let passed = percentages.iter().filter(|&&share| 100 * step >= share * total);
                self.peak * 0.1f64.powi(passed.count() as i32)
            }
        }
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
            epochs: 5,
            decay: Decay::Cosine,
            granularity: Granularity::Step,
        };
        let epochs = RateSchedule { granularity: Granularity::Epoch, ..steps };
        for step in 0..50 {
            assert_eq!(epochs.at(step, 10), steps.at(step / 10 * 10, 10), "step {step}");
        }
        assert_eq!([0, 5, 10].map(|step| steps.at(step, 10)), [0.0, 1.0, 2.0]);
        // Halfway between the warm-up and the end: half the peak.
        assert!((steps.at(30, 10) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn drops_fall_where_a_share_of_the_run_is_over() {
        let drops = RateSchedule {
            peak: 30.0,
            warmup_epochs: 0.0,
            epochs: 2,
            decay: Decay::Drops([60, 80]),
            granularity: Granularity::Step,
        };
        let factor = |step: usize| match step {
            0..6 => 1.0,
            6..8 => 0.1,
            _ => 0.01,
        };
        for step in 0..10 {
            assert!((drops.at(step, 5) / 30.0 - factor(step)).abs() < 1e-15, "step {step}");
        }
    }
}
