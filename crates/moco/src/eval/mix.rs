//! Mixing of training images: mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al.
//! 2019, arXiv 1905.04899), as MAE's fine-tuning applies them (He et al. 2022, arXiv 2111.06377,
//! App. A.1): a whole batch in one way, each image with the one at its place from the end. Of an
//! odd batch the middle image is its own partner, and stays as it is.

use crate::batch::to_host;
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor, TensorData, s};
use moco_peers::Peers;
use rand::RngExt;
use rand_distr::{Beta, Distribution};
use std::ops::Range;

/// How often CutMix takes the place of mixup where both are on.
const SWITCH: f64 = 0.5;

/// How strongly images are mixed: what both parameters of the Beta distributions are that their
/// shares are drawn from. A way of mixing that has 0 is off; the default mixes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// Parameter of mixup's Beta distribution; finite. MAE's is 0.8.
    pub mixup: f64,
    /// Parameter of CutMix's Beta distribution; finite. MAE's is 1.
    pub cutmix: f64,
}

impl Mixing {
    /// What step `step` of a run of `seed` does to images of `size`; `None` if both ways are off.
    pub fn draw(&self, size: [usize; 2], seed: u64, step: u64) -> Option<Mix> {
        let rng = &mut rng::stream(seed, Purpose::Mixing, step);
        let paste = self.cutmix > 0.0 && (self.mixup <= 0.0 || rng.random::<f64>() < SWITCH);
        let shape = if paste { self.cutmix } else { self.mixup };
        let share = Beta::new(shape, shape).ok()?.sample(rng);
        Some(match paste {
            true => Mix::paste(share, size, size.map(|length| rng.random_range(0..length))),
            false => Mix::blend(share),
        })
    }
}

/// What is done to one batch: a pure function of its images and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    share: f64,
    patch: Option<[Range<usize>; 2]>,
}

impl Mix {
    /// Mixup: every image times `share`, plus its partner times the rest.
    pub fn blend(share: f64) -> Self {
        Self { share, patch: None }
    }

    /// CutMix: every image of `size` with its partner's pixels in a box around `centre`, of the
    /// image's proportions and 1 - `share` of its area. What sticks out of the image is cut off,
    /// and the share corrected accordingly.
    pub fn paste(share: f64, size: [usize; 2], centre: [usize; 2]) -> Self {
        let scale = (1.0 - share).sqrt();
        let patch = [0, 1].map(|axis| {
            let cut = (size[axis] as f64 * scale) as usize;
            let end = (centre[axis] + cut.div_ceil(2)).min(size[axis]);
            centre[axis].saturating_sub(cut / 2)..end
        });
        let pasted: usize = patch.iter().map(Range::len).product();
        let share = 1.0 - pasted as f64 / size.iter().product::<usize>() as f64;
        Self { share, patch: Some(patch) }
    }

    /// What is left of every image, 0..=1; the rest is its partner's.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Rows and columns that are the partner's, for CutMix.
    pub fn patch(&self) -> Option<&[Range<usize>; 2]> {
        self.patch.as_ref()
    }

    /// The mixed images of this rank's share of a batch, `count` of them. Where a view cuts each into P patches, a patch's
    /// partner is the same patch of the image's partner, and CutMix has its box in every patch.
    ///
    /// # Shapes
    /// `[count P, H, W, 3]` to the same.
    pub fn images(&self, x: Tensor<4>, count: usize, peers: Peers) -> Tensor<4> {
        let Some([rows, columns]) = self.patch.clone() else {
            return x.clone() * self.share + partners(x, count, peers) * (1.0 - self.share);
        };
        if rows.is_empty() || columns.is_empty() {
            return x;
        }
        let place = s![.., rows, columns, ..];
        let pasted = partners(x.clone().slice(place), count, peers);
        x.slice_assign(place, pasted)
    }

    /// Targets of the mixed images: `share` of each image's own class, the rest its partner's.
    /// `smoothing` is the share of each target that all classes share. The labels are those of this
    /// rank's share of a batch.
    ///
    /// # Shapes
    /// N labels to `[N, classes]`.
    pub fn targets(
        &self,
        labels: &[u32],
        classes: usize,
        smoothing: f64,
        peers: Peers,
        device: &Device,
    ) -> Tensor<2> {
        let mut targets = vec![smoothing / classes as f64; labels.len() * classes];
        let all = peers.gather_rows(labels, 1, "labels");
        let partners = peers.share(all.len()).map(|i| all[all.len() - 1 - i]);
        let pairs = labels.iter().zip(partners);
        for (row, (own, partner)) in targets.chunks_exact_mut(classes).zip(pairs) {
            row[*own as usize] += (1.0 - smoothing) * self.share;
            row[partner as usize] += (1.0 - smoothing) * (1.0 - self.share);
        }
        let targets: Vec<f32> = targets.into_iter().map(|target| target as f32).collect();
        Tensor::from_data(TensorData::new(targets, [labels.len(), classes]), device)
    }
}

/// The images of a batch, last first, of which this rank has and gets `count`; rows that belong to one
/// image stay in order.
fn partners(x: Tensor<4>, count: usize, peers: Peers) -> Tensor<4> {
    let [rows, height, width, channels] = x.dims();
    let whole = x.reshape([count, rows / count * height, width, channels]);
    let last_first = whole.flip([0]).reshape([rows, height, width, channels]);
    if peers.alone() {
        return last_first;
    }
    // Image i of all is number i / R on rank i mod R, so the one at its place from the end is on the rank
    // at this one's place from the end.
    let mut values = vec![0; peers.size()];
    values[peers.size() - 1 - peers.rank()] = rows * height * width * channels;
    let device = last_first.device();
    let came = peers.all_to_all(&to_host(last_first), &values, &values, "images to mix with");
    Tensor::from_data(TensorData::new(came, [rows, height, width, channels]), &device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAE: Mixing = Mixing { mixup: 0.8, cutmix: 1.0 };
    const SIZE: [usize; 2] = [224, 224];
    const STEPS: u64 = 4000;

    fn draws(mixing: Mixing) -> Vec<Mix> {
        (0..STEPS).map(|step| mixing.draw(SIZE, 1, step).unwrap()).collect()
    }

    fn moments(shares: &[f64]) -> [f64; 2] {
        let n = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / n;
        [mean, shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / n]
    }

    #[test]
    fn a_draw_is_a_function_of_seed_and_step() {
        let forwards = draws(MAE);
        for (step, mix) in forwards.iter().enumerate().rev().step_by(97) {
            assert_eq!(MAE.draw(SIZE, 1, step as u64).as_ref(), Some(mix), "step {step}");
        }
        let shares = |seed| (0..50).map(move |step| MAE.draw(SIZE, seed, step).unwrap().share());
        assert!(shares(1).zip(shares(2)).all(|(a, b)| a != b));
        assert!(shares(1).zip(shares(1).skip(1)).all(|(a, b)| a != b));
    }

    #[test]
    fn what_has_no_strength_is_off() {
        assert_eq!(Mixing::default().draw(SIZE, 1, 0), None);
        let is_paste = |mix: &Mix| mix.patch().is_some();
        assert!(!draws(Mixing { cutmix: 0.0, ..MAE }).iter().any(is_paste));
        assert!(draws(Mixing { mixup: 0.0, ..MAE }).iter().all(is_paste));
    }

    /// Beta(a, a) has mean 1/2 and variance 1 / (8a + 4). A box of side r, as a share of the
    /// image's, around a uniform centre has r - r²/4 of it inside on average; with r² uniform,
    /// both sides together leave 1 - (1/2 - 1/5 + 1/48) of the image. Tolerances are at least 4
    /// standard errors of 2000 draws.
    #[test]
    fn shares_are_distributed_as_published() {
        let (pastes, blends): (Vec<Mix>, Vec<Mix>) =
            draws(MAE).into_iter().partition(|mix| mix.patch().is_some());
        let share_of_pastes = pastes.len() as f64 / STEPS as f64;
        assert!((share_of_pastes - SWITCH).abs() < 0.032, "{share_of_pastes} are CutMix");

        let shares = |mixes: &[Mix]| moments(&mixes.iter().map(Mix::share).collect::<Vec<_>>());
        let [mean, variance] = shares(&blends);
        assert!((mean - 0.5).abs() < 0.03, "mixup keeps {mean}");
        assert!((variance - 1.0 / 10.4).abs() < 0.01, "mixup's variance is {variance}");
        let [mean, _] = shares(&pastes);
        assert!((mean - 0.679).abs() < 0.03, "CutMix keeps {mean}");
    }

    #[test]
    fn a_patch_is_mixed_with_the_same_patch_of_the_partner() {
        // Two images of three patches of one pixel.
        let values = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        let pixels = TensorData::new(values.map(|value| [value; 3]).concat(), [6, 1, 1, 3]);
        let x = Tensor::<4>::from_data(pixels, &Device::flex());
        let mixed = to_host(Mix::blend(0.75).images(x, 2, Peers::SOLO));
        let expected = [2.5, 3.5, 4.5, 7.5, 8.5, 9.5].map(|value| [value; 3]).concat();
        assert_eq!(mixed, expected);
    }

    #[test]
    fn the_middle_of_an_odd_batch_is_its_own_partner() {
        let targets = Mix::blend(0.75).targets(&[0, 1, 2], 4, 0.0, Peers::SOLO, &Device::flex());
        let expected = [0.75, 0.0, 0.25, 0.0, 0.0, 1.0, 0.0, 0.0, 0.25, 0.0, 0.75, 0.0];
        assert_eq!(to_host(targets), expected);
    }
}
