//! Batch normalisation as a function. Ioffe & Szegedy 2015 (arXiv 1502.03167), Alg. 1.

mod shared;

use super::Engine;
use burn::tensor::{Device, Tensor, module};
use moco_kernels::Processes;
pub use shared::Shared;
use std::sync::Arc;

/// Normalisation by the statistics of the batch.
#[derive(Clone, Debug)]
pub struct ByBatch {
    /// Scale, `[C]`.
    pub scale: Tensor<1>,
    /// Shift, `[C]`.
    pub shift: Tensor<1>,
    /// Sample n is normalised with the samples of its group, n mod `groups`.
    pub groups: usize,
    /// The other ranks that have parts of the batch, which is one group then.
    pub shared: Option<Shared>,
    /// Added to variances.
    pub epsilon: f64,
    /// Moved towards the batch's in the same pass, by engines that do, see `moves_running`.
    pub running: Option<Running>,
}

impl ByBatch {
    /// Who has the other parts of the batch, as kernels ask for it.
    pub(super) fn others(&self) -> Option<Arc<dyn Processes>> {
        self.shared.map(|shared| Arc::new(shared) as _)
    }

    /// How many ranks have parts of the batch.
    pub(super) fn parts(&self) -> usize {
        self.shared.map_or(1, |shared| shared.count())
    }
}

/// Running statistics, moved by [`MOMENTUM`] towards the mean over groups of what batches have.
#[derive(Clone, Debug)]
pub struct Running {
    /// `[C]`.
    pub mean: Tensor<1>,
    /// Unbiased, `[C]`.
    pub variance: Tensor<1>,
}

/// Weight of the newest batch in running statistics, torch's default.
pub const MOMENTUM: f64 = 0.1;

/// Whether the engine of a device moves [`ByBatch::running`] itself. It gives them back, whole, as
/// [`Statistics::Moved`].
pub(crate) fn moves_running(device: &Device) -> bool {
    match Engine::of(device) {
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => true,
        Engine::Kernels(_) | Engine::Stock => false,
    }
}

/// Normalisation by statistics that are given.
#[derive(Clone, Debug)]
pub struct ByRunning {
    /// Scale, `[C]`.
    pub scale: Tensor<1>,
    /// Shift, `[C]`.
    pub shift: Tensor<1>,
    /// `[C]`.
    pub mean: Tensor<1>,
    /// `[C]`.
    pub variance: Tensor<1>,
    /// Added to variances.
    pub epsilon: f64,
}

/// What a normalisation by the batch yields beside its output.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// What the batch was normalised by.
    OfBatch(OfBatch),
    /// The running statistics, which have moved.
    Moved(Running),
}

/// What a batch was normalised by.
#[derive(Clone, Debug)]
pub struct OfBatch {
    /// Of each group and channel, `[groups * C]`.
    pub mean: Tensor<1>,
    /// Biased, of each group and channel, `[groups * C]`.
    pub variance: Tensor<1>,
    /// How many values went into each, on all ranks that have parts of the group.
    pub count: usize,
}

impl Statistics {
    /// What the batch was normalised by, of an engine that tells it.
    #[cfg(test)]
    pub(crate) fn of_batch(self) -> OfBatch {
        match self {
            Statistics::OfBatch(of_batch) => of_batch,
            Statistics::Moved(_) => panic!("running statistics"),
        }
    }
}

/// A batch in torch's order normalised by its own statistics, and these.
///
/// # Shapes
/// `[N, C, H, W]` to the same.
///
/// # Panics
/// If N is not a multiple of the number of groups.
pub fn by_batch(x: Tensor<4>, norm: ByBatch) -> (Tensor<4>, Statistics) {
    #[cfg(feature = "libtorch")]
    if Engine::of(&x.device()) == Engine::LibTorch {
        return super::torch::batch_norm::of_maps(x, norm);
    }
    if norm.shared.is_some() {
        let (y, statistics) = shared::by_batch(x.permute([0, 2, 3, 1]), norm);
        return (y.permute([0, 3, 1, 2]), Statistics::OfBatch(statistics));
    }
    let [n, c, h, w] = x.dims();
    let g = norm.groups;
    assert!(n.is_multiple_of(g), "a batch of {n} does not split into {g} BatchNorm groups");
    // Row-major, [N, C, ...] read as [N/g, g*C, ...] puts sample n into group n mod g.
    let grouped = x.reshape([n / g, g * c, h, w]);
    let repeat = |v: Tensor<1>| if g == 1 { v } else { v.repeat_dim(0, g) };
    let (scale, shift) = (repeat(norm.scale), repeat(norm.shift));
    let result = module::batch_norm_train(grouped, scale, shift, norm.epsilon);
    let statistics = OfBatch { mean: result.mean, variance: result.variance, count: n / g * h * w };
    (result.output.reshape([n, c, h, w]), Statistics::OfBatch(statistics))
}

/// A batch in torch's order normalised by given statistics.
///
/// # Shapes
/// `[N, C, H, W]` to the same.
pub fn by_running(x: Tensor<4>, norm: ByRunning) -> Tensor<4> {
    let ByRunning { scale, shift, mean, variance, epsilon } = norm;
    module::batch_norm(x, scale, shift, mean, variance, epsilon)
}
