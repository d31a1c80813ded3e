//! What methods tell of a step, put together from the parts of its batch and the ranks' shares.

use crate::batch::to_host;
use crate::loss::channel_std;
use crate::methods::Metric;
use burn::tensor::Tensor;
use moco_peers::Peers;

/// Values by name, in the order of the first part.
#[derive(Default)]
pub(super) struct Watched(Vec<(&'static str, Value)>);

enum Value {
    /// The mean over the parts so far.
    Mean(f64),
    /// The rows of all parts so far.
    Rows(Vec<Tensor<2>>),
}

impl Watched {
    /// Adds what is told of a part of the batch, whose share of it is `share`.
    pub fn add(&mut self, metrics: Vec<(&'static str, Metric)>, share: f64) {
        for (name, metric) in metrics {
            let value = match metric {
                Metric::Mean(mean) => Value::Mean(scalar(mean) * share),
                Metric::Std(rows) => Value::Rows(vec![rows]),
            };
            match (self.0.iter_mut().find(|(known, _)| *known == name), value) {
                (Some((_, Value::Mean(sum))), Value::Mean(mean)) => *sum += mean,
                (Some((_, Value::Rows(all))), Value::Rows(rows)) => all.extend(rows),
                (_, value) => self.0.push((name, value)),
            }
        }
    }

    /// The values of the whole batch. A collective call.
    pub fn whole(self, peers: Peers) -> Vec<(&'static str, f64)> {
        if peers.alone() {
            let told = |(name, value)| match value {
                Value::Mean(mean) => (name, mean),
                Value::Rows(rows) => (name, scalar(channel_std(Tensor::cat(rows, 0)))),
            };
            return self.0.into_iter().map(told).collect();
        }
        // All values travel together, each by what can be summed.
        let shares: Vec<(&'static str, Vec<f64>)> =
            self.0.into_iter().map(|(name, value)| (name, moments(value))).collect();
        let mut sums: Vec<f64> = shares.iter().flat_map(|(_, share)| share).copied().collect();
        peers.sum_f64(&mut sums, "metrics");
        let mut rest = sums.as_slice();
        let told = |(name, share): (&'static str, Vec<f64>)| {
            let (own, others) = rest.split_at(share.len());
            rest = others;
            (name, of_moments(own, peers.size()))
        };
        shares.into_iter().map(told).collect()
    }
}

/// What is summed over the ranks of a value: itself, or the number of its rows, the sums of its channels
/// and those of their squares.
fn moments(value: Value) -> Vec<f64> {
    let rows = match value {
        Value::Mean(mean) => return vec![mean],
        Value::Rows(rows) => Tensor::cat(rows, 0),
    };
    let [count, width] = rows.dims();
    let mut sums = vec![0.0; 1 + 2 * width];
    sums[0] = count as f64;
    let (plain, squares) = sums[1..].split_at_mut(width);
    for row in to_host(rows).chunks_exact(width) {
        for (channel, value) in row.iter().map(|value| f64::from(*value)).enumerate() {
            plain[channel] += value;
            squares[channel] += value * value;
        }
    }
    sums
}

/// A value of its sums over so many ranks.
fn of_moments(sums: &[f64], ranks: usize) -> f64 {
    let (first, moments) = sums.split_first().expect("at least one sum");
    if moments.is_empty() {
        return first / ranks as f64;
    }
    let (plain, squares) = moments.split_at(moments.len() / 2);
    let deviation = |(sum, square): (&f64, &f64)| {
        let mean = sum / first;
        (square / first - mean * mean).max(0.0).sqrt()
    };
    plain.iter().zip(squares).map(deviation).sum::<f64>() / plain.len() as f64
}

pub(super) fn scalar(value: Tensor<1>) -> f64 {
    f64::from(value.into_scalar::<f32>())
}
