//! Batch normalisation by LibTorch, within a node.

use super::{exclusive, node, plain, to_nchw, to_nhwc};
use crate::ops::batch_norm::{self, ByBatch, MOMENTUM, Statistics};
use burn::tensor::{Device, Tensor};
use tch::Kind;

/// Running statistics that a normalisation moves in the same pass.
pub(in crate::ops) struct Running {
    mean: tch::Tensor,
    variance: tch::Tensor,
}

impl Running {
    /// The running statistics of a layer; for a caller without any, zeros that nobody reads.
    pub fn of(running: Option<batch_norm::Running>, channels: usize, device: &Device) -> Self {
        let of = |tensor: Tensor<1>| exclusive(tensor);
        match running {
            Some(batch_norm::Running { mean, variance }) => {
                Self { mean: of(mean), variance: of(variance) }
            }
            None => {
                let zeros = || Tensor::zeros([channels], &device.clone().without_autodiff());
                Self { mean: of(zeros()), variance: of(zeros()) }
            }
        }
    }

    /// The statistics after the pass has moved them.
    pub fn moved(self) -> Statistics {
        Statistics::Moved(batch_norm::Running {
            mean: plain(self.mean),
            variance: plain(self.variance),
        })
    }
}

/// As [`batch_norm::by_batch`], as one node.
pub(in crate::ops) fn of_maps(x: Tensor<4>, norm: ByBatch) -> (Tensor<4>, Statistics) {
    let ByBatch { scale, shift, groups, epsilon, running, .. } = norm;
    let running = Running::of(running, scale.dims()[0], &x.device());
    let y = node(vec![x.into(), scale.into(), shift.into()], |t| {
        by_batch(&t[0], [&t[1], &t[2]], &running, groups, epsilon)
    });
    (y, running.moved())
}

/// `[N, C, H, W]` normalised by the statistics of its groups, towards which `running` moves.
pub(in crate::ops) fn by_batch(
    x: &tch::Tensor,
    affine: [&tch::Tensor; 2],
    running: &Running,
    groups: usize,
    epsilon: f64,
) -> tch::Tensor {
    let Running { mean, variance } = running;
    if groups == 1 {
        let [scale, shift] = affine;
        return x.batch_norm(
            Some(scale),
            Some(shift),
            Some(mean),
            Some(variance),
            true,
            MOMENTUM,
            epsilon,
            true,
        );
    }
    let (n, c, h, w) = x.size4().expect("a batch of maps");
    let g = groups as i64;
    assert!(n % g == 0, "a batch of {n} does not split into {g} BatchNorm groups");
    // Row-major, [N, C, ...] read as [N/g, g*C, ...] puts sample n into group n mod g; maps lie
    // channels-last, so that this copies.
    let grouped = x.reshape([n / g, g * c, h, w]);
    let [scale, shift] = affine.map(|v| v.repeat([g]));
    let zeros = || tch::Tensor::zeros([g * c], (Kind::Float, x.device()));
    let (of_mean, of_variance) = (zeros(), zeros());
    // At a momentum of 1 they become the batch's, the variance unbiased as the running one is.
    let y = grouped.batch_norm(
        Some(&scale),
        Some(&shift),
        Some(&of_mean),
        Some(&of_variance),
        true,
        1.0,
        epsilon,
        true,
    );
    tch::no_grad(|| {
        for (running, of_batch) in [(mean, of_mean), (variance, of_variance)] {
            let over_groups = of_batch.reshape([g, c]).mean_dim(0, false, Kind::Float);
            let _ = running.shallow_clone().lerp_(&over_groups, MOMENTUM);
        }
    });
    to_nchw(&to_nhwc(&y.reshape([n, c, h, w])).contiguous())
}

/// `[N, C, H, W]` normalised by given statistics.
pub(in crate::ops) fn by_running(
    x: &tch::Tensor,
    [scale, shift]: [&tch::Tensor; 2],
    [mean, variance]: [&tch::Tensor; 2],
    epsilon: f64,
) -> tch::Tensor {
    x.batch_norm(
        Some(scale),
        Some(shift),
        Some(mean),
        Some(variance),
        false,
        MOMENTUM,
        epsilon,
        true,
    )
}
