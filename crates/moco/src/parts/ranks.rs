//! What methods say to the other ranks of a run, outside autodiff.
//!
//! State is global: every rank holds the same queue, bank and centre, and writes the same to them.

use crate::batch::to_host;
use burn::tensor::{Int, Tensor, TensorData};
use moco_peers::Peers;

/// The images of the global batch, in its order, of those of this rank's share.
pub fn gather_images(images: &[usize], peers: Peers) -> Vec<usize> {
    let numbers: Vec<u64> = images.iter().map(|image| *image as u64).collect();
    let all = peers.gather_rows(&numbers, 1, "images of the batch");
    all.into_iter().map(|image| image as usize).collect()
}

/// This rank's rows of what all ranks hold: row j of rank r is row `j R + r`.
///
/// # Shapes
/// `[n R, D]` to `[n, D]`, or one row more or less where R does not divide.
pub fn own_rows(all: Tensor<2>, peers: Peers) -> Tensor<2> {
    if peers.alone() {
        return all;
    }
    let rows: Vec<i32> = peers.share(all.dims()[0]).map(|row| row as i32).collect();
    let count = rows.len();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &all.device());
    all.select(0, rows)
}

/// The mean of `x` over the ranks.
pub fn mean_over_ranks<const D: usize>(
    x: Tensor<D>,
    peers: Peers,
    what: &'static str,
) -> Tensor<D> {
    if peers.alone() {
        return x;
    }
    sum_over_ranks(x, peers, what) / peers.size() as f64
}

/// The sum of `x` over the ranks, made in f64.
pub fn sum_over_ranks<const D: usize>(x: Tensor<D>, peers: Peers, what: &'static str) -> Tensor<D> {
    through_host(x, peers, |values| peers.sum_f64(values, what))
}

/// The largest of each element of `x` over the ranks.
pub fn max_over_ranks<const D: usize>(x: Tensor<D>, peers: Peers, what: &'static str) -> Tensor<D> {
    through_host(x, peers, |values| peers.max_f64(values, what))
}

fn through_host<const D: usize>(
    x: Tensor<D>,
    peers: Peers,
    exchange: impl FnOnce(&mut [f64]),
) -> Tensor<D> {
    if peers.alone() {
        return x;
    }
    let (dims, device) = (x.dims(), x.device());
    let mut values: Vec<f64> = to_host(x).into_iter().map(f64::from).collect();
    exchange(&mut values);
    let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, dims), &device)
}
