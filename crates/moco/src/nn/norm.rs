//! Batch normalisation with an explicit mode, torch's running statistics and split groups.
//!
//! Ioffe & Szegedy 2015 (arXiv 1502.03167), Alg. 1. Differences from Burn's layer: the mode is an
//! argument, never inferred from the device; the running variance is unbiased, as in PyTorch; and
//! a batch can be normalised in groups, as if it were spread over several devices.

use super::module::{Module, TensorLeaf, Visitor};
use super::param::{Buffer, Param};
use crate::ops::batch_norm::{
    self, ByBatch, ByRunning, MOMENTUM, OfBatch, Running, Shared, Statistics,
};
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;

/// How a forward pass treats batch statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Normalise by the statistics of the batch and move the running statistics.
    Train,
    /// Normalise by the running statistics and change nothing.
    Eval,
}

/// Batch normalisation over the channels of an image batch.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Scale, `[C]`.
    pub weight: Param<1>,
    /// Shift, `[C]`.
    pub bias: Param<1>,
    /// Moving average of the batch means, `[C]`.
    pub running_mean: Buffer<1>,
    /// Moving average of the unbiased batch variances, `[C]`.
    pub running_var: Buffer<1>,
    /// Added to variances.
    pub(super) epsilon: f64,
    /// Of the global batch.
    groups: usize,
    peers: Peers,
}

impl Module for BatchNorm {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("weight", &mut self.weight);
        visitor.child("bias", &mut self.bias);
        visitor.child("running_mean", &mut self.running_mean);
        visitor.child("running_var", &mut self.running_var);
        self.peers.visit(visitor);
    }
}

/// Added to variances, torch's default.
pub const EPSILON: f64 = 1e-5;

impl BatchNorm {
    /// Scale 1, shift 0, running mean 0 and variance 1.
    ///
    /// In training, sample n of the batch is normalised with the samples of its group, n mod
    /// `groups`; 1 is ordinary batch normalisation.
    pub fn new(channels: usize, groups: usize, device: &Device) -> Self {
        Self {
            weight: Param::new(Tensor::ones([channels], device)),
            bias: Param::new(Tensor::zeros([channels], device)),
            running_mean: Buffer::new(Tensor::zeros([channels], device)),
            running_var: Buffer::new(Tensor::ones([channels], device)),
            epsilon: EPSILON,
            groups,
            peers: Peers::SOLO,
        }
    }

    /// Sets every scale to zero (zero-init-residual).
    pub fn zero_scale(&mut self) {
        let zeros = self.weight.val().zeros_like();
        self.weight = Param::new(zeros);
    }

    /// Groups that this rank's training batch is split into: all of them, if there is one rank.
    ///
    /// Sample j of rank r is sample `j R + r` of the global batch. If R divides the groups, each lies
    /// on one rank; if the groups divide R, a rank has a part of one.
    pub fn groups(&self) -> usize {
        (self.groups / self.peers.size()).max(1)
    }

    /// The group that this rank has a part of, if groups lie on several ranks.
    fn shared(&self) -> Option<Shared> {
        let (of, peers) = (self.groups, self.peers);
        let shared = Shared { number: peers.rank() % of, of, peers };
        (!of.is_multiple_of(peers.size())).then_some(shared)
    }

    /// Tells the layer of the other ranks, where no walk reaches it.
    pub(super) fn visit_peers(&mut self, visitor: &mut Visitor<'_>) {
        self.peers.visit(visitor);
    }

    /// This layer as an operation takes it in training.
    pub(super) fn by_batch(&mut self) -> ByBatch {
        let (scale, shift) = (self.weight.val(), self.bias.val());
        // Given back to `track`, whole: the engine holds the only handles, so it works in place.
        let running = batch_norm::moves_running(&scale.device()).then(|| Running {
            mean: self.running_mean.take_flat(),
            variance: self.running_var.take_flat(),
        });
        let (groups, shared, epsilon) = (self.groups(), self.shared(), self.epsilon);
        ByBatch { scale, shift, groups, shared, epsilon, running }
    }

    /// This layer as an operation takes it in evaluation.
    pub(super) fn by_running(&self) -> ByRunning {
        ByRunning {
            scale: self.weight.val(),
            shift: self.bias.val(),
            mean: self.running_mean.val(),
            variance: self.running_var.val(),
            epsilon: self.epsilon,
        }
    }

    /// Normalises a batch that lies in torch's order.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same.
    ///
    /// # Panics
    /// In training mode, if N is not a multiple of the number of groups.
    pub fn forward_nchw(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        match mode {
            Mode::Eval => batch_norm::by_running(x, self.by_running()),
            Mode::Train => {
                let (y, statistics) = batch_norm::by_batch(x, self.by_batch());
                self.track(statistics);
                y
            }
        }
    }

    /// Moves the running statistics towards those of a batch.
    ///
    /// # Panics
    /// If they are of another number of groups or channels.
    pub fn track(&mut self, statistics: Statistics) {
        let OfBatch { mean, variance, count } = match statistics {
            Statistics::OfBatch(of_batch) => of_batch,
            Statistics::Moved(Running { mean, variance }) => {
                self.running_mean.set_flat(mean);
                return self.running_var.set_flat(variance);
            }
        };
        let g = self.groups();
        let unbiased = count as f64 / (count as f64 - 1.0).max(1.0);
        let over_groups = |v: Tensor<1>| {
            let c = v.dims()[0] / g;
            v.without_autodiff().reshape([g, c]).mean_dim(0).reshape([c])
        };
        let mean = over_groups(mean) * MOMENTUM;
        let variance = over_groups(variance) * (MOMENTUM * unbiased);
        self.running_mean.update(|old| old * (1.0 - MOMENTUM) + mean);
        self.running_var.update(|old| old * (1.0 - MOMENTUM) + variance);
    }
}
