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

/// The losses and metrics of a batch's parts, which a GPU may still be computing.
#[derive(Default)]
pub(super) struct Unread(Vec<(StepOutput, f64)>);

impl Unread {
    /// Adds a part of the batch, whose share of it is `share`.
    pub fn add(&mut self, output: StepOutput, share: f64) {
        let loss = output.loss.without_autodiff();
        self.0.push((StepOutput { loss, metrics: output.metrics }, share));
    }

    /// Waits for the losses.
    ///
    /// # Errors
    /// [`NotFinite`], on all ranks, if the loss of any part is not finite.
    pub fn read(self, peers: Peers) -> Result<Read, NotFinite> {
        let mut read = Read::default();
        for (output, share) in self.0 {
            let loss = ranks::mean(scalar(output.loss), peers, "loss");
            if !loss.is_finite() {
                return Err(NotFinite(loss));
            }
            read.loss += loss * share;
            read.watched.add(output.metrics, share);
        }
        Ok(read)
    }
}

/// Loss and metrics of a batch.
#[derive(Default)]
pub(super) struct Read {
    /// Mean over the ranks.
    loss: f64,
    /// Of this rank's share.
    watched: Watched,
}

impl Read {
    /// What the whole batch tells. A collective call.
    pub fn whole(self, peers: Peers) -> Learnt {
        Learnt { loss: self.loss, metrics: self.watched.whole(peers) }
    }
}

/// What is known of a step when it has been asked for.
pub(super) enum Told {
    /// Its numbers.
    Now(Learnt),
    /// Those that are to be read later.
    Later(Unread),
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
    let how = How { parts: parts.into(), peers, late: false };
    match learn_as(how, method, optimizer, batch, step, rates, None)? {
        Told::Now(learnt) => Ok(learnt),
        Told::Later(unread) => Ok(unread.read(peers)?.whole(peers)),
    }
}

/// How a step is computed.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// The parts of the batch.
    pub parts: Parts,
    /// The other ranks.
    pub peers: Peers,
    /// Whether the weights move before the loss is read, of one rank alone: a loss that is no number is then
    /// found when it is read.
    pub late: bool,
}

/// As [`learn_among`], with a scaled loss where gradients are 16-bit floats. If one of them is not finite,
/// the optimiser leaves out the step.
pub(super) fn learn_as(
    how: How,
    method: &mut dyn Method,
    optimizer: &mut Optimizer,
    batch: Batch,
    mut step: Step,
    rates: &Rates,
    scale: Option<&mut LossScale>,
) -> Result<Told, NotFinite> {
    let How { parts: Parts { count, exact }, peers, late } = how;
    let factor = scale.as_ref().map(|scale| scale.factor());
    let (unread, mut gradients) = match exact && method.as_compare().is_some() {
        true => exact::gradients(method, batch, step, count, factor),
        false => gradients(method, batch, step, count, factor),
    };
    step.part = count - 1;
    // The backward pass has been asked for, so that a GPU has work while the host waits for the loss.
    let told = if late && peers.alone() {
        Told::Later(unread)
    } else {
        let read = unread.read(peers)?;
        gradients.average(peers);
        average_statistics(method, peers);
        Told::Now(read.whole(peers))
    };
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
    Ok(told)
}

/// A loss times `factor`, where there is one.
pub(super) fn scaled(loss: Tensor<1>, factor: Option<f64>) -> Tensor<1> {
    match factor {
        Some(factor) => loss * factor,
        None => loss,
    }
}

/// The losses of the parts, and the gradients of their mean, times `factor`.
fn gradients(
    method: &mut dyn Method,
    batch: Batch,
    mut step: Step,
    parts: usize,
    factor: Option<f64>,
) -> (Unread, NamedGradients) {
    let share = 1.0 / parts as f64;
    let mut gradients = NamedGradients::default();
    let mut unread = Unread::default();
    for (part, batch) in batch.split(parts).into_iter().enumerate() {
        step.part = part;
        let output = method.loss(&batch, &step);
        let backward = scaled(output.loss.clone(), factor).backward();
        unread.add(output, share);
        gradients.add(method.student(), &backward, share);
    }
    (unread, gradients)
}
