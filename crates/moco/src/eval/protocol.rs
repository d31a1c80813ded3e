//! How a published linear probe is carried out: its optimiser's rule, its rates, its size on fewer images.
//!
//! The images are augmented alike in all of them, by a random crop and a flip, and the layer starts alike.

use crate::config::{DecayScope, LarsFlavor, ProbeDecay, ProbeOptimizer, Protocol, RuleConfig};
use crate::schedule::{Decay, RateSchedule};

/// Momentum of every probe's optimiser.
const MOMENTUM: f64 = 0.9;
/// LARS's trust coefficient.
const TRUST: f64 = 0.001;
/// Steps of an epoch that a batch in proportion to the images leaves: about MAE's on ImageNet.
const STEPS: usize = 64;
/// No batch is made smaller than this.
const LEAST_BATCH: usize = 32;

impl ProbeDecay {
    fn as_schedule(&self) -> Decay {
        match self {
            Self::Cosine => Decay::Cosine(0.0),
            Self::Drops { epochs, factor } => Decay::drops(epochs.iter().copied(), *factor),
        }
    }
}

impl ProbeOptimizer {
    /// The rule, and what weight decay and adaptation apply to.
    pub fn rule(self) -> (RuleConfig, DecayScope) {
        let lars = |flavor| RuleConfig::Lars { momentum: MOMENTUM, trust: TRUST, flavor };
        match self {
            Self::Sgd => (RuleConfig::Sgd { momentum: MOMENTUM }, DecayScope::All),
            Self::Nesterov => (RuleConfig::Nesterov { momentum: MOMENTUM }, DecayScope::All),
            Self::Lars => (lars(LarsFlavor::Outside), DecayScope::Matrices),
            Self::Larc => (lars(LarsFlavor::Larc), DecayScope::All),
        }
    }
}

impl Protocol {
    /// This protocol for a data set of so many images. Where the rate follows the batch, batches are a
    /// 64th of the images at most, since a few steps an epoch teach a layer nothing; the rate stays
    /// that of the published batch, since LARS moves by a share of the weights at each step.
    pub fn fitted(self, images: usize) -> Self {
        let fitting = (images / STEPS).max(LEAST_BATCH);
        match self.lr_batch {
            Some(_) if self.batch_size > fitting => {
                let lr = self.peak(self.batch_size);
                Self { batch_size: fitting.min(images), lr, lr_batch: None, ..self }
            }
            _ => Self { batch_size: self.batch_size.min(images), ..self },
        }
    }

    /// The protocol stretched or shortened to `epochs`, with warm-up and drops in proportion.
    pub fn over(self, epochs: usize) -> Self {
        let now = |epoch: f64| epoch * epochs as f64 / self.epochs as f64;
        let decay = match self.decay {
            ProbeDecay::Cosine => ProbeDecay::Cosine,
            ProbeDecay::Drops { epochs, factor } => {
                ProbeDecay::Drops { epochs: epochs.into_iter().map(now).collect(), factor }
            }
        };
        Self { decay, warmup_epochs: now(self.warmup_epochs), epochs, ..self }
    }

    /// The highest rate of a batch of `images`.
    pub fn peak(&self, images: usize) -> f64 {
        self.lr_batch.map_or(self.lr, |quoted| self.lr * images as f64 / quoted as f64)
    }

    /// The rates of a run in batches of `images`.
    pub fn schedule(&self, images: usize) -> RateSchedule {
        RateSchedule {
            peak: self.peak(images),
            warmup_epochs: self.warmup_epochs,
            start: 0.0,
            inclusive: false,
            epochs: self.epochs,
            decay: self.decay.as_schedule(),
            granularity: self.granularity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_fall_where_a_share_of_the_run_is_over() {
        let rates = Protocol::moco().over(2).schedule(256);
        let factor = |step: usize| match step {
            0..6 => 1.0,
            6..8 => 0.1,
            _ => 0.01,
        };
        for step in 0..10 {
            assert!((rates.at(step, 5) / 30.0 - factor(step)).abs() < 1e-15, "step {step}");
        }
    }
}
