//! BatchNorm's share of a fused convolution: folding the statistics that the convolution gathered,
//! and three passes over maps in NHWC: normalise forwards, sums and gradient backwards.
//!
//! With `x̂ = (y - mean) inv_std` and `z = gamma x̂ + beta (+ skip)`, `out = relu(z)` (Ioffe and
//! Szegedy 2015, arXiv 1502.03167, algorithm 1 and section 3): per group of `M` pixels
//!
//! ```text
//! dz     = d_out where out > 0            dbeta  = Σ dz         dgamma = Σ dz x̂
//! dy     = gamma inv_std (dz - dbeta/M - x̂ dgamma/M)
//! ```

mod backward;
mod forward;
mod gate;
mod processes;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use backward::{Gradient, Sums};
pub(crate) use forward::{Normalise, Skip};
pub(crate) use gate::Gate;
pub use processes::Processes;
pub(crate) use rows::Maps;

use crate::conv::shape::Span;

/// Mean and biased variance per group and channel, `[groups, channels]` each, from the partial sums
/// of [`crate::conv::sink::Stats`] (`[spans, 3, channels]`), in f64 and in the order of the spans.
///
/// Spans are merged as in Chan, Golub and LeVeque (1979): exact means of unlike size, no
/// cancellation. With `others` the statistics are those of the one group that all processes have a part of.
pub(crate) fn fold_statistics(
    spans: &[Span],
    partial: &[f32],
    groups: usize,
    channels: usize,
    others: Option<&dyn Processes>,
) -> (Vec<f32>, Vec<f32>) {
    let mut mean = vec![0.0f64; groups * channels];
    let mut squares = vec![0.0f64; groups * channels];
    let mut counts = vec![0.0f64; groups];
    for (job, span) in spans.iter().enumerate() {
        let rows = &partial[job * 3 * channels..][..3 * channels];
        let count = span.pixels as f64;
        let total = counts[span.group] + count;
        for c in 0..channels {
            let at = span.group * channels + c;
            let [shift, sum, square] = [0, 1, 2].map(|row| f64::from(rows[row * channels + c]));
            let job_mean = shift + sum / count;
            let job_squares = square - sum * sum / count;
            let delta = job_mean - mean[at];
            mean[at] += delta * count / total;
            squares[at] += job_squares + delta * delta * counts[span.group] * count / total;
        }
        counts[span.group] = total;
    }
    if let Some(processes) = others {
        over_all(processes, &mut mean, &mut squares, &mut counts[0]);
    }
    let variance = squares.iter().enumerate().map(|(i, &square)| {
        let count = counts[i / channels.max(1)].max(1.0);
        (square / count).max(0.0) as f32
    });
    let variance = variance.collect();
    (mean.iter().map(|&m| m as f32).collect(), variance)
}

/// Means and sums of squares around them, of this process's part of a group, to those of the whole.
///
/// One exchange, of sums and of sums of squares around zero. What cancels there is of doubles made from
/// exact parts: where the mean is a thousand deviations from zero, the variance is right to 1e-10.
fn over_all(processes: &dyn Processes, mean: &mut [f64], squares: &mut [f64], count: &mut f64) {
    let here = *count;
    let sums = mean.iter().map(|mean| here * mean);
    let around_zero = mean.iter().zip(&*squares).map(|(mean, square)| square + here * mean * mean);
    let mut all: Vec<f64> = sums.chain(around_zero).collect();
    processes.sum(&mut all);
    *count = here * processes.count() as f64;
    let (sums, around_zero) = all.split_at(mean.len());
    for c in 0..mean.len() {
        mean[c] = sums[c] / count.max(1.0);
        squares[c] = around_zero[c] - *count * mean[c] * mean[c];
    }
}

/// `z = y * scale + shift` per group and channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coefficients {
    pub inv_std: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// The affine map that BatchNorm with these statistics (`[groups, channels]`) is.
pub(crate) fn coefficients(
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    mean: &[f32],
    variance: &[f32],
) -> Coefficients {
    let channels = gamma.len().max(1);
    let mut out = Coefficients::default();
    for (i, (&mean, &variance)) in mean.iter().zip(variance).enumerate() {
        let (gamma, beta) = (f64::from(gamma[i % channels]), f64::from(beta[i % channels]));
        let inv_std = 1.0 / (f64::from(variance) + f64::from(eps)).sqrt();
        out.inv_std.push(inv_std as f32);
        out.scale.push((gamma * inv_std) as f32);
        out.shift.push((beta - gamma * inv_std * f64::from(mean)) as f32);
    }
    out
}
