//! Operations of several ranks on the autodiff graph: a gather that carries gradients, and batch
//! statistics over ranks. Exists for the CPU backend.
//!
//! A backward pass is a collective call too. All ranks compute the same graph, and Burn walks it in
//! an order that depends on the graph alone, so they meet in the same exchanges.

use crate::ops::flex::{contiguous, record, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_peers::Peers;
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of one piece of a sum; fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 1024;

/// The rows of all ranks by stride: row i of rank r becomes row `i R + r`. Backward, every rank gets
/// the sum over the ranks of what their losses say of its rows. `what` names the exchange.
///
/// # Shapes
/// `[n, D]` to `[n R, D]`.
pub fn gather(x: Tensor<2>, peers: Peers, what: &'static str) -> Tensor<2> {
    if peers.alone() {
        return x;
    }
    Tensor::from_dispatch(<Dispatch as RankOps>::gather(x.into_dispatch(), peers, what))
}

/// Which BatchNorm group a rank has a part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Its number.
    pub number: usize,
    /// How many groups there are.
    pub of: usize,
    /// How many ranks have a part of it.
    pub parts: usize,
}

/// `(x - mean) / sqrt(var + eps)` with the statistics of a group that lies on several ranks, and these
/// statistics, `[C]`, the variance biased.
///
/// # Shapes
/// `[N, H, W, C]` to the same.
pub(super) fn normalize(
    x: Tensor<4>,
    group: Group,
    epsilon: f64,
    peers: Peers,
) -> (Tensor<4>, [Tensor<1>; 2]) {
    let (y, mean, variance) =
        <Dispatch as RankOps>::normalize(x.into_dispatch(), group, epsilon, peers);
    (Tensor::from_dispatch(y), [mean, variance].map(Tensor::from_dispatch))
}

#[backend_extension(Flex, Autodiff)]
trait RankOps: Backend {
    fn gather(x: FloatTensor<Self>, peers: Peers, what: &'static str) -> FloatTensor<Self>;

    fn normalize(
        x: FloatTensor<Self>,
        group: Group,
        epsilon: f64,
        peers: Peers,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl RankOps for Flex {
    fn gather(x: FlexTensor, peers: Peers, what: &'static str) -> FlexTensor {
        let x = contiguous(x);
        let [n, width] = x.layout().shape().dims();
        tensor(peers.gather_rows(slice(&x), width, what), [n * peers.size(), width])
    }

    fn normalize(
        x: FlexTensor,
        group: Group,
        epsilon: f64,
        peers: Peers,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let x = contiguous(x);
        let normalized = Normalized::new(&x, group, epsilon, peers);
        let [mean, variance] = normalized.statistics();
        (tensor(normalized.out(&x), x.layout().shape().clone()), mean, variance)
    }
}

impl<C: CheckpointStrategy> RankOps for Autodiff<Flex, C> {
    fn gather(x: FloatTensor<Self>, peers: Peers, what: &'static str) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let [_, width] = x.layout().shape().dims();
        let out = <Flex as RankOps>::gather(x, peers, what);
        record(
            GatherNode.prepare::<C>([node]).compute_bound().stateful(),
            (width, peers, what),
            out,
        )
    }

    fn normalize(
        x: FloatTensor<Self>,
        group: Group,
        epsilon: f64,
        peers: Peers,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, node) = x.into_parts();
        let x = contiguous(x);
        let normalized = Normalized::new(&x, group, epsilon, peers);
        let [mean, variance] = normalized.statistics();
        let out = tensor(normalized.out(&x), x.layout().shape().clone());
        let prepared = NormalizeNode.prepare::<C>([node]).compute_bound().stateful();
        let out = record(prepared, (Arc::new(normalized), out.clone()), out);
        let constant = <Self as AutodiffBackend>::from_inner;
        (out, constant(mean), constant(variance))
    }
}

/// The backward pass of a gather: the sum over ranks, scattered.
#[derive(Debug)]
struct GatherNode;

impl Backward<Flex, 1> for GatherNode {
    type State = (usize, Peers, &'static str);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let (width, peers, what) = ops.state;
        if let [Some(parent)] = &ops.parents {
            let own = peers.scatter_sum(slice(&d_out), width, what);
            let rows = own.len() / width;
            grads.register::<Flex>(parent.id, tensor(own, [rows, width]));
        }
    }
}

/// The statistics of one normalisation.
#[derive(Clone, Debug)]
struct Normalized {
    mean: Vec<f64>,
    variance: Vec<f64>,
    /// `1 / sqrt(variance + eps)`.
    scale: Vec<f64>,
    /// Values per channel in the group, on all ranks.
    count: f64,
    group: Group,
    peers: Peers,
}

impl Normalized {
    /// Ioffe & Szegedy 2015 (arXiv 1502.03167), Alg. 1, over several ranks: first the means, then the
    /// mean squares around them.
    fn new(x: &FlexTensor, group: Group, epsilon: f64, peers: Peers) -> Self {
        let c = channels(x);
        let x = slice(x);
        let count = (x.len() / c * group.parts) as f64;
        let sums = column_sums(x, x, c, |_, v, _| f64::from(v));
        let mean = means(sums, count, group, peers, "BatchNorm means");
        let sums = column_sums(x, x, c, |i, v, _| (f64::from(v) - mean[i]).powi(2));
        let variance = means(sums, count, group, peers, "BatchNorm variances");
        let scale = variance.iter().map(|v| (v + epsilon).sqrt().recip()).collect();
        Self { mean, variance, scale, count, group, peers }
    }

    fn statistics(&self) -> [FlexTensor; 2] {
        [&self.mean, &self.variance].map(|v| vector(v.iter().map(|v| *v as f32).collect()))
    }

    fn out(&self, x: &FlexTensor) -> Vec<f32> {
        let c = channels(x);
        let mut out = slice(x).to_vec();
        out.par_chunks_mut(PIECE * c).for_each(|piece| {
            for row in piece.chunks_exact_mut(c) {
                for ((v, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                    *v = ((f64::from(*v) - mean) * scale) as f32;
                }
            }
        });
        out
    }

    /// `dx = scale (dy - mean(dy) - x̂ mean(dy x̂))`, the means over the whole group.
    fn backward(&self, normalized: &[f32], dy: &[f32]) -> Vec<f32> {
        let c = self.mean.len();
        let mut sums = column_sums(dy, normalized, c, |_, dy, _| f64::from(dy));
        sums.extend(column_sums(dy, normalized, c, |_, dy, x| f64::from(dy) * f64::from(x)));
        let means = means(sums, self.count, self.group, self.peers, "BatchNorm gradients");
        let (plain, along) = means.split_at(c);
        let mut dx = dy.to_vec();
        dx.par_chunks_mut(PIECE * c).zip(normalized.par_chunks(PIECE * c)).for_each(|(dx, x)| {
            for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for i in 0..c {
                    let inner = f64::from(dx[i]) - plain[i] - f64::from(x[i]) * along[i];
                    dx[i] = (self.scale[i] * inner) as f32;
                }
            }
        });
        dx
    }
}

/// The backward pass of a normalisation.
#[derive(Debug)]
struct NormalizeNode;

impl Backward<Flex, 1> for NormalizeNode {
    type State = (Arc<Normalized>, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let (normalized, out) = ops.state;
        if let [Some(parent)] = &ops.parents {
            let dx = normalized.backward(slice(&out), slice(&d_out));
            grads.register::<Flex>(parent.id, tensor(dx, out.layout().shape().clone()));
        }
    }
}

fn channels(x: &FlexTensor) -> usize {
    *x.layout().shape().to_vec().last().expect("an image batch")
}

/// The sum over the rows of `a` and `b`, each `[rows, c]`, of `f(channel, a, b)`.
fn column_sums(
    a: &[f32],
    b: &[f32],
    c: usize,
    f: impl Fn(usize, f32, f32) -> f64 + Sync,
) -> Vec<f64> {
    let pieces = a.par_chunks(PIECE * c).zip(b.par_chunks(PIECE * c)).map(|(a, b)| {
        let mut sums = vec![0.0; c];
        for (a, b) in a.chunks_exact(c).zip(b.chunks_exact(c)) {
            for i in 0..c {
                sums[i] += f(i, a[i], b[i]);
            }
        }
        sums
    });
    let pieces: Vec<Vec<f64>> = pieces.collect();
    let mut total = vec![0.0; c];
    for piece in pieces {
        total.iter_mut().zip(piece).for_each(|(sum, part)| *sum += part);
    }
    total
}

/// Sums of this rank to means over its group.
fn means(sums: Vec<f64>, count: f64, group: Group, peers: Peers, what: &'static str) -> Vec<f64> {
    // All groups travel together, each in its place.
    let n = sums.len();
    let mut all = vec![0.0; n * group.of];
    all[group.number * n..][..n].copy_from_slice(&sums);
    peers.sum_f64(&mut all, what);
    all[group.number * n..][..n].iter().map(|sum| sum / count).collect()
}
