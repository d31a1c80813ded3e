//! One step: loss, gradients, update, and what the method does after it.

use crate::batch::Batch;
use crate::methods::{Method, Step, StepOutput};
use crate::optim::{NamedGradients, Optimizer};
use burn::tensor::Tensor;

/// The numbers that schedules give for a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Learning rate before any schedule, for parameters that keep it.
    pub fixed_lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// What a step tells: its loss and the method's metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learnt {
    /// Mean loss over the batch.
    pub loss: f64,
    /// The method's values worth watching, each the mean over the batch's parts.
    pub metrics: Vec<(&'static str, f64)>,
}

impl Learnt {
    /// Adds a part of the batch, whose share of it is `share`.
    fn add(&mut self, loss: f64, metrics: Vec<(&'static str, Tensor<1>)>, share: f64) {
        self.loss += loss * share;
        for (name, value) in metrics {
            let value = scalar(value) * share;
            match self.metrics.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => self.metrics.push((name, value)),
            }
        }
    }
}

/// The loss was no number; the weights were left as they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite(pub f64);

/// Computes `batch` in `parts` parts, one after the other, and moves the weights once.
///
/// # Errors
/// [`NotFinite`] for a loss that is infinite or no number.
pub fn learn(
    method: &mut dyn Method,
    optimizer: &mut Optimizer,
    batch: Batch,
    mut step: Step,
    rates: &Rates,
    parts: usize,
) -> Result<Learnt, NotFinite> {
    let share = 1.0 / parts as f64;
    let mut gradients = NamedGradients::default();
    let mut learnt = Learnt::default();
    for (part, batch) in batch.split(parts).into_iter().enumerate() {
        step.part = part;
        let StepOutput { loss, metrics } = method.loss(&batch, &step);
        let value = scalar(loss.clone());
        if !value.is_finite() {
            return Err(NotFinite(value));
        }
        learnt.add(value, metrics, share);
        gradients.add(method.student(), &loss.backward(), share);
    }
    let treatment = method.treatment(&step);
    optimizer.step(method.student(), gradients, rates.weight_decay, |name| {
        treatment.rate(name, rates.lr, rates.fixed_lr)
    });
    method.after_update(&step);
    Ok(learnt)
}

fn scalar(value: Tensor<1>) -> f64 {
    f64::from(value.into_scalar::<f32>())
}
