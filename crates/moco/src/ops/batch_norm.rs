//! Batch normalisation as a function. Ioffe & Szegedy 2015 (arXiv 1502.03167), Alg. 1.

use burn::tensor::{Tensor, module};

/// Normalisation by the statistics of the batch.
#[derive(Clone, Debug)]
pub struct ByBatch {
    /// Scale, `[C]`.
    pub scale: Tensor<1>,
    /// Shift, `[C]`.
    pub shift: Tensor<1>,
    /// Sample n is normalised with the samples of its group, n mod `groups`.
    pub groups: usize,
    /// Added to variances.
    pub epsilon: f64,
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

/// What a batch was normalised by.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Of each group and channel, `[groups * C]`.
    pub mean: Tensor<1>,
    /// Biased, of each group and channel, `[groups * C]`.
    pub variance: Tensor<1>,
    /// How many values went into each.
    pub count: usize,
}

/// A batch in torch's order normalised by its own statistics, and these.
///
/// # Shapes
/// `[N, C, H, W]` to the same.
///
/// # Panics
/// If N is not a multiple of the number of groups.
pub fn by_batch(x: Tensor<4>, norm: ByBatch) -> (Tensor<4>, Statistics) {
    let [n, c, h, w] = x.dims();
    let g = norm.groups;
    assert!(n.is_multiple_of(g), "a batch of {n} does not split into {g} BatchNorm groups");
    // Row-major, [N, C, ...] read as [N/g, g*C, ...] puts sample n into group n mod g.
    let grouped = x.reshape([n / g, g * c, h, w]);
    let repeat = |v: Tensor<1>| if g == 1 { v } else { v.repeat_dim(0, g) };
    let (scale, shift) = (repeat(norm.scale), repeat(norm.shift));
    let result = module::batch_norm_train(grouped, scale, shift, norm.epsilon);
    let statistics =
        Statistics { mean: result.mean, variance: result.variance, count: n / g * h * w };
    (result.output.reshape([n, c, h, w]), statistics)
}

/// A batch in torch's order normalised by given statistics.
///
/// # Shapes
/// `[N, C, H, W]` to the same.
pub fn by_running(x: Tensor<4>, norm: ByRunning) -> Tensor<4> {
    let ByRunning { scale, shift, mean, variance, epsilon } = norm;
    module::batch_norm(x, scale, shift, mean, variance, epsilon)
}
