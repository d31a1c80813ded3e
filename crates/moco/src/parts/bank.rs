//! The memory bank: a row for each image of the data set.
//!
//! Wu et al. 2018 (arXiv 1805.01978), Sec. 3.1: what the network made of an image when it last saw
//! it stands for the image until it is seen again, so that all of them can be compared with.

use super::gather_images;
use crate::loss::l2_normalize;
use crate::nn::{Buffer, gather, init};
use crate::ops::update::replace_rows;
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Int, Tensor, TensorData};
use moco_peers::Peers;
use rand::RngExt;
use std::collections::HashMap;

/// One row per image.
///
/// The features of a step are collected part by part and written once, after the step.
#[derive(Debug)]
pub struct Bank {
    rows: Buffer<2>,
    /// Share of the old row that stays.
    momentum: f64,
    fresh: Vec<(Vec<usize>, Tensor<2>)>,
    peers: Peers,
}

crate::module!(Bank { rows, peers });

impl Bank {
    /// Random rows of width `dim`, uniform in `±sqrt(3 / dim)`: of expected length 1, but not
    /// normalised, as in the reference. A function of `seed` and `part`, the number of the bank in
    /// its method.
    pub fn new(
        [images, dim]: [usize; 2],
        momentum: f64,
        seed: u64,
        part: u64,
        device: &Device,
    ) -> Self {
        let mut rng = rng::stream(seed, Purpose::Bank, part);
        let rows = init::uniform([images, dim], (3.0 / dim as f64).sqrt(), &mut rng, device);
        Self { rows: Buffer::new(rows), momentum, fresh: Vec::new(), peers: Peers::SOLO }
    }

    /// All rows, `[N, D]`, in the order of the data set, outside autodiff.
    pub fn rows(&self) -> Tensor<2> {
        self.rows.val()
    }

    /// The rows that each image is compared with: its own, then `negatives` drawn with
    /// replacement. Its own may be drawn again, as in the reference.
    ///
    /// A function of the seed, the step and the image, so that a batch in parts draws the same.
    ///
    /// # Shapes
    /// `[n, 1 + negatives]` for n images.
    pub fn sample(
        &self,
        images: &[usize],
        negatives: usize,
        seed: u64,
        step: usize,
    ) -> Tensor<2, Int> {
        let rows = self.rows.val();
        let [count, _] = rows.dims();
        let drawn = images.iter().flat_map(|&image| {
            let position = (step * count + image) as u64;
            let mut rng = rng::stream(seed, Purpose::Negatives, position);
            let others = (0..negatives).map(move |_| rng.random_range(0..count as i32));
            std::iter::once(image as i32).chain(others)
        });
        let shape = [images.len(), 1 + negatives];
        Tensor::from_data(TensorData::new(drawn.collect::<Vec<i32>>(), shape), &rows.device())
    }

    /// Keeps the features `[n, D]` of some images of this step, and those of the other ranks, for
    /// [`Bank::update`].
    ///
    /// # Panics
    /// If the images are not as many as the features.
    pub fn collect(&mut self, images: &[usize], v: Tensor<2>) {
        assert_eq!(v.dims()[0], images.len(), "one image for each feature");
        let v = gather(v.without_autodiff(), self.peers, "features for the bank");
        self.fresh.push((gather_images(images, self.peers), v));
    }

    /// Moves the rows of the collected images towards their features:
    /// `M_i <- (m M_i + (1 - m) v) / |...|`, m being the momentum. Of several features of one
    /// image the last counts.
    pub fn update(&mut self) {
        let (images, features): (Vec<_>, Vec<_>) = self.fresh.drain(..).unzip();
        if images.is_empty() {
            return;
        }
        let (rows, v) = (self.rows.val(), Tensor::cat(features, 0));
        let device = rows.device();
        // Writing one row twice has no defined order on a GPU, so only the last is written.
        let last: HashMap<_, _> = (0i32..).zip(images.concat()).map(|(at, i)| (i, at)).collect();
        let mut last: Vec<(usize, i32)> = last.into_iter().collect();
        last.sort_unstable();
        let (images, places): (Vec<i32>, Vec<i32>) =
            last.into_iter().map(|(image, place)| (image as i32, place)).unzip();
        let select = |from: Tensor<2>, list: &[i32]| {
            from.select(0, Tensor::<1, Int>::from_data(list, &device))
        };
        let (old, v) = (select(rows, &images), select(v, &places));
        let new = l2_normalize(old * self.momentum + v * (1.0 - self.momentum));
        self.rows.update(|rows| replace_rows(rows, &images, new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::TensorLeaf;

    const MOMENTUM: f64 = 0.5;

    fn bank() -> Bank {
        Bank::new([7, 2], MOMENTUM, 3, 0, &Device::flex())
    }

    fn features(values: [[f32; 2]; 3]) -> Tensor<2> {
        Tensor::from_data(values, &Device::flex())
    }

    /// Row i is L2(.5 old + .5 v), and no other row is touched.
    #[test]
    fn rows_move_towards_the_features_of_their_images_only() {
        let mut bank = bank();
        let before = to_host(bank.rows());
        let v = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]];
        bank.collect(&[5, 0, 2], features(v));
        assert_eq!(to_host(bank.rows()), before, "nothing moves before the update");
        bank.update();
        let after = to_host(bank.rows());
        for row in 0..7 {
            let old = [before[2 * row], before[2 * row + 1]];
            let expected = match [5, 0, 2].iter().position(|image| *image == row) {
                Some(at) => {
                    let mixed = [0, 1].map(|d| 0.5 * f64::from(old[d]) + 0.5 * f64::from(v[at][d]));
                    let length = mixed[0].hypot(mixed[1]);
                    mixed.map(|x| (x / length) as f32)
                }
                None => old,
            };
            for d in 0..2 {
                assert!((after[2 * row + d] - expected[d]).abs() < 1e-6, "row {row}");
            }
        }
        bank.update();
        assert_eq!(to_host(bank.rows()), after, "collected features are written once");
    }

    /// Of one image twice in a batch, the last writer wins; so too across parts.
    #[test]
    fn the_last_feature_of_an_image_counts() {
        let v = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]];
        let alone = |values| {
            let mut bank = bank();
            bank.collect(&[4], features(values).slice_dim(0, 2));
            bank.update();
            to_host(bank.rows())
        };
        let (mut whole, mut parts) = (bank(), bank());
        whole.collect(&[4, 4, 4], features(v));
        whole.update();
        assert_eq!(to_host(whole.rows()), alone(v));
        for row in 0..3 {
            parts.collect(&[4], features(v).slice_dim(0, row));
        }
        parts.update();
        assert_eq!(to_host(parts.rows()), alone(v));
    }

    /// A bank for ImageNet is 650 MB: an update must write its rows where they are.
    #[test]
    fn rows_are_written_in_place() {
        let address = |bank: &mut Bank| {
            let data = bank.rows.take_flat().into_data(); // of the only handle, so no copy
            let address = data.as_bytes().as_ptr();
            bank.rows.set_flat(Tensor::from_data(data, &Device::flex()));
            address
        };
        let mut bank = bank();
        let before = address(&mut bank);
        bank.collect(&[5, 0, 2], features([[1.0, 0.0]; 3]));
        bank.update();
        assert_eq!(address(&mut bank), before);
    }

    /// Uniform in ±sqrt(3/D) has variance 1/D; the mean of 64,000 squares is within 5 of its
    /// standard errors, 2/(sqrt(5) D sqrt(64,000)) each.
    #[test]
    fn starts_with_rows_of_expected_length_1() {
        let rows = |seed, part| {
            let bank = Bank::new([1000, 64], MOMENTUM, seed, part, &Device::flex());
            to_host(bank.rows())
        };
        let values = rows(1, 0);
        let bound = (3.0f32 / 64.0).sqrt();
        assert!(values.iter().all(|x| x.abs() <= bound));
        let mean = values.iter().map(|x| f64::from(x * x)).sum::<f64>() / 64_000.0;
        assert!((64.0 * mean - 1.0).abs() < 5.0 * 2.0 / (5.0f64 * 64_000.0).sqrt(), "{mean}");
        assert_eq!(values, rows(1, 0));
        assert_ne!(values, rows(1, 1));
        assert_ne!(values, rows(2, 0));
    }

    #[test]
    fn samples_start_with_the_own_row_and_depend_on_seed_step_and_image_only() {
        let draw = |images: &[usize], seed, step| {
            let samples = bank().sample(images, 50, seed, step);
            assert_eq!(samples.dims(), [images.len(), 51]);
            samples.into_data().iter::<i64>().collect::<Vec<_>>()
        };
        let both = draw(&[6, 2], 1, 9);
        assert_eq!([both[0], both[51]], [6, 2]);
        assert!(both.iter().all(|row| (0..7).contains(row)));
        assert_eq!(both[51..], draw(&[2], 1, 9), "whatever else is in the batch");
        assert_ne!(both[52..], draw(&[2], 2, 9)[1..]);
        assert_ne!(both[52..], draw(&[2], 1, 10)[1..]);
        assert_ne!(both[52..], both[1..51]);
    }

    /// Chi-square with 6 degrees of freedom over 70,000 draws: above 40 once in two million.
    #[test]
    fn samples_are_uniform_over_all_rows() {
        let samples = bank().sample(&[3], 70_000, 5, 0);
        let mut counts = [0.0f64; 7];
        samples.into_data().iter::<i64>().skip(1).for_each(|row| counts[row as usize] += 1.0);
        let chi: f64 = counts.iter().map(|n| (n - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 40.0, "{counts:?}");
    }
}
