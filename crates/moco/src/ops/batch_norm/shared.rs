//! Batch statistics over ranks: which group a rank has a part of, and the normalisation by Burn's tensors,
//! where our kernels have none: behind linear layers. Exists for the CPU backend.
//!
//! A pass is a collective call. All ranks compute the same graph, and Burn walks it in an order that depends
//! on the graph alone, so they meet in the same exchanges.

use super::{ByBatch, OfBatch};
use crate::ops::flex::{contiguous, record, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Processes;
use moco_peers::Peers;
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of one piece of a sum; fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 1024;

/// A BatchNorm group that lies on several ranks, of each of which it has as many images.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// Its number.
    pub number: usize,
    /// How many groups there are.
    pub of: usize,
    /// All ranks; every `of`-th of them has a part of this group.
    pub peers: Peers,
}

impl Processes for Shared {
    fn count(&self) -> usize {
        self.peers.size() / self.of
    }

    /// All groups travel together, each in its place.
    fn sum(&self, values: &mut [f64]) {
        let n = values.len();
        let mut all = vec![0.0; n * self.of];
        all[self.number * n..][..n].copy_from_slice(values);
        self.peers.sum_f64(&mut all, "BatchNorm's statistics");
        values.copy_from_slice(&all[self.number * n..][..n]);
    }
}

/// This rank's part of a batch normalised by the statistics of the whole, and these.
///
/// # Shapes
/// `[N, H, W, C]` to the same.
pub(super) fn by_batch(x: Tensor<4>, norm: ByBatch) -> (Tensor<4>, OfBatch) {
    let ByBatch { scale, shift, shared, epsilon, .. } = norm;
    let shared = shared.expect("ranks that have the other parts");
    let [n, h, w, c] = x.dims();
    let count = shared.count() * n * h * w;
    let (y, mean, variance) =
        <Dispatch as SharedOps>::normalize(x.into_dispatch(), shared, epsilon);
    let [mean, variance] = [mean, variance].map(Tensor::from_dispatch);
    let row = |v: Tensor<1>| v.reshape([1, 1, 1, c]);
    let y = Tensor::from_dispatch(y) * row(scale) + row(shift);
    (y, OfBatch { mean, variance, count })
}

/// `(x - mean) / sqrt(var + eps)`, the mean and the biased variance.
#[backend_extension(Flex, Autodiff)]
trait SharedOps: Backend {
    fn normalize(
        x: FloatTensor<Self>,
        shared: Shared,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl SharedOps for Flex {
    fn normalize(
        x: FlexTensor,
        shared: Shared,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let x = contiguous(x);
        let normalized = Normalized::new(&x, shared, epsilon);
        let [mean, variance] = normalized.statistics();
        (tensor(normalized.out(&x), x.layout().shape().clone()), mean, variance)
    }
}

impl<C: CheckpointStrategy> SharedOps for Autodiff<Flex, C> {
    fn normalize(
        x: FloatTensor<Self>,
        shared: Shared,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, node) = x.into_parts();
        let x = contiguous(x);
        let normalized = Normalized::new(&x, shared, epsilon);
        let [mean, variance] = normalized.statistics();
        let out = tensor(normalized.out(&x), x.layout().shape().clone());
        let prepared = NormalizeNode.prepare::<C>([node]).compute_bound().stateful();
        let out = record(prepared, (Arc::new(normalized), out.clone()), out);
        let constant = <Self as AutodiffBackend>::from_inner;
        (out, constant(mean), constant(variance))
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
    shared: Shared,
}

impl Normalized {
    /// Ioffe & Szegedy 2015 (arXiv 1502.03167), Alg. 1, over several ranks: first the means, then the
    /// mean squares around them.
    fn new(x: &FlexTensor, shared: Shared, epsilon: f64) -> Self {
        let c = channels(x);
        let x = slice(x);
        let count = (x.len() / c * shared.count()) as f64;
        let sums = column_sums(x, x, c, |_, v, _| f64::from(v));
        let mean = means(sums, count, shared);
        let sums = column_sums(x, x, c, |i, v, _| (f64::from(v) - mean[i]).powi(2));
        let variance = means(sums, count, shared);
        let scale = variance.iter().map(|v| (v + epsilon).sqrt().recip()).collect();
        Self { mean, variance, scale, count, shared }
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
        let means = means(sums, self.count, self.shared);
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
fn means(mut sums: Vec<f64>, count: f64, shared: Shared) -> Vec<f64> {
    shared.sum(&mut sums);
    sums.into_iter().map(|sum| sum / count).collect()
}
