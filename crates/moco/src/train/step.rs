//! One step: loss, gradients, update, and what the method does after it.

use super::scale::LossScale;
use super::watched::{Watched, scalar};
use super::{exact, ranks};
use crate::batch::Batch;
use crate::config::OptimConfig;
use crate::methods::{Method, Step, StepOutput};
use crate::nn::average_statistics;
use crate::optim::{NamedGradients, Optimizer};
use burn::tensor::Tensor;
use moco_peers::Peers;

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
    /// The method's values worth watching, of the whole batch.
    pub metrics: Vec<(&'static str, f64)>,
}

/// Loss and metrics of the parts of a batch so far.
#[derive(Default)]
pub(super) struct Told {
    /// Mean over the ranks.
    loss: f64,
    /// Of this rank's share.
    watched: Watched,
}

impl Told {
    /// Adds a part of the batch, whose share of it is `share`.
    /// The loss is the mean over the ranks, before any update, so that all stop where one must.
    pub(super) fn add(
        &mut self,
        output: StepOutput,
        share: f64,
        peers: Peers,
    ) -> Result<(), NotFinite> {
        let loss = ranks::mean(scalar(output.loss), peers, "loss");
        if !loss.is_finite() {
            return Err(NotFinite(loss));
        }
        self.loss += loss * share;
        self.watched.add(output.metrics, share);
        Ok(())
    }
}

/// The loss was no number; the weights were left as they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite(pub f64);

/// How a batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Parts of equal size, one after the other.
    pub count: usize,
    /// Whether the images of all parts are compared with each other, see
    /// [`OptimConfig::accumulate_exact`].
    pub exact: bool,
}

impl Parts {
    /// The parts that the settings of a run ask for.
    pub fn of(optim: &OptimConfig) -> Self {
        Self { count: optim.accumulate, exact: optim.exact_parts() }
    }
}

/// So many parts, each a batch of its own.
impl From<usize> for Parts {
    fn from(count: usize) -> Self {
        Self { count, exact: false }
    }
}

/// Computes `batch` in `parts`, one after the other, and moves the weights once. Parts of a method without
/// [`Method::as_compare`] are batches of their own in any case.
///
/// # Errors
/// [`NotFinite`] for a loss that is infinite or no number.
pub fn learn(
    method: &mut dyn Method,
    optimizer: &mut Optimizer,
    batch: Batch,
    step: Step,
    rates: &Rates,
    parts: impl Into<Parts>,
) -> Result<Learnt, NotFinite> {
    learn_among(method, optimizer, batch, step, rates, parts, Peers::SOLO)
}

/// As [`learn`], of this rank's share of a global batch. `method` must have been told of the other
/// ranks by [`crate::nn::share`]; after the step its state is the same on all of them.
///
/// # Errors
/// [`NotFinite`], on all ranks, if the loss of any is not finite.
pub fn learn_among(
    method: &mut dyn Method,
    optimizer: &mut Optimizer,
    batch: Batch,
    step: Step,
    rates: &Rates,
    parts: impl Into<Parts>,
    peers: Peers,
) -> Result<Learnt, NotFinite> {
    learn_scaled(method, optimizer, batch, step, rates, parts.into(), peers, None)
}

/// As [`learn_among`], with a scaled loss where gradients are 16-bit floats. If one of them is not finite,
/// the optimiser leaves out the step.
pub(super) fn learn_scaled(
    method: &mut dyn Method,
    optimizer: &mut Optimizer,
    batch: Batch,
    mut step: Step,
    rates: &Rates,
    Parts { count, exact }: Parts,
    peers: Peers,
    scale: Option<&mut LossScale>,
) -> Result<Learnt, NotFinite> {
    let factor = scale.as_ref().map(|scale| scale.factor());
    let (told, mut gradients) = match exact && method.as_compare().is_some() {
        true => exact::gradients(method, batch, step, count, factor, peers)?,
        false => gradients(method, batch, step, count, factor, peers)?,
    };
    step.part = count - 1;
    gradients.average(peers);
    average_statistics(method, peers);
    let learnt = Learnt { loss: told.loss, metrics: told.watched.whole(peers) };
    let finite = factor.is_none_or(|factor| gradients.divide(factor));
    if let Some(scale) = scale {
        scale.see(finite);
    }
    if finite {
        let treatment = method.treatment(&step);
        optimizer.step(method.student(), gradients, rates.weight_decay, |name| {
            treatment.rate(name, rates.lr, rates.fixed_lr)
        });
    }
    method.after_update(&step);
    Ok(learnt)
}

/// A loss times `factor`, where there is one.
pub(super) fn scaled(loss: Tensor<1>, factor: Option<f64>) -> Tensor<1> {
    match factor {
        Some(factor) => loss * factor,
        None => loss,
    }
}

/// The mean of the losses of the parts, and its gradients, times `factor`.
fn gradients(
    method: &mut dyn Method,
    batch: Batch,
    mut step: Step,
    parts: usize,
    factor: Option<f64>,
    peers: Peers,
) -> Result<(Told, NamedGradients), NotFinite> {
    let share = 1.0 / parts as f64;
    let mut gradients = NamedGradients::default();
    let mut told = Told::default();
    for (part, batch) in batch.split(parts).into_iter().enumerate() {
        step.part = part;
        let output = method.loss(&batch, &step);
        // The loss is read when all of the backward pass has been asked for, so that a GPU has work while
        // the host waits for it; the optimiser still sees no gradient of a loss that is no number.
        let backward = scaled(output.loss.clone(), factor).backward();
        told.add(output, share, peers)?;
        gradients.add(method.student(), &backward, share);
    }
    Ok((told, gradients))
}
