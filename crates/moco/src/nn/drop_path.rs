//! Stochastic depth: residual branches that are left out at random, sample by sample.
//!
//! Huang et al. 2016 (arXiv 1603.09382); per sample and scaled by the survivors' share, as in timm.

use crate::rng::{self, Purpose};
use burn::tensor::{Tensor, TensorData};
use moco_peers::Peers;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The random decisions of a network's drop-path.
///
/// Which branches are dropped is a function of the seed and of how many training passes came
/// before. That number is a counter of the module walk, so that a resumed run goes on with it.
#[derive(Clone, Debug)]
pub struct DropPath {
    seed: u64,
    passes: u64,
    peers: Peers,
}

crate::module!(DropPath { passes, peers });

/// The decisions of one training pass, in turn: the same for a sample of the global batch whatever
/// rank it is on.
pub struct Pass {
    rng: ChaCha8Rng,
    peers: Peers,
}

impl DropPath {
    /// Before the first training pass.
    pub fn new(seed: u64) -> Self {
        Self { seed, passes: 0, peers: Peers::SOLO }
    }

    /// The decisions of the next training pass.
    pub fn next_pass(&mut self) -> Pass {
        let stream = rng::stream(self.seed, Purpose::DropPath, self.passes);
        self.passes += 1;
        Pass { rng: stream, peers: self.peers }
    }
}

/// Sets each sample of a residual branch to zero with probability `rate`, and divides the others
/// by `1 - rate`, which keeps the expectation. `rate` is in [0, 1).
///
/// # Shapes
/// `[N, T, C]` to the same.
pub fn drop_path(branch: Tensor<3>, rate: f64, pass: &mut Pass) -> Tensor<3> {
    if rate == 0.0 {
        return branch;
    }
    let n = branch.dims()[0];
    let kept = (1.0 - rate).recip() as f32;
    let Pass { rng, peers } = pass;
    let mask = std::iter::repeat_with(|| if rng.random::<f64>() < rate { 0.0 } else { kept });
    let global: Vec<f32> = mask.take(n * peers.size()).collect();
    let mask: Vec<f32> = peers.share(global.len()).map(|row| global[row]).collect();
    let device = branch.device().without_autodiff();
    branch * Tensor::<3>::from_data(TensorData::new(mask, [n, 1, 1]), &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::device::Device;

    #[test]
    fn whole_samples_are_dropped_and_the_mean_is_kept() {
        let mut passes = DropPath::new(7);
        let ones = Tensor::<3>::ones([4000, 2, 3], &Device::flex());
        let out = to_host(drop_path(ones, 0.3, &mut passes.next_pass()));
        let samples: Vec<&[f32]> = out.chunks(6).collect();
        assert!(samples.iter().all(|sample| sample.iter().all(|v| *v == sample[0])));
        let mean = out.iter().sum::<f32>() / out.len() as f32;
        // Four standard deviations of a mean of 4000 draws: 4 sqrt(.3 / .7 / 4000) = .041.
        assert!((mean - 1.0).abs() < 0.041, "mean {mean}");
    }

    #[test]
    fn every_pass_differs_and_a_repeated_run_does_not() {
        let draw = |passes: &mut DropPath| {
            let ones = Tensor::<3>::ones([64, 1, 1], &Device::flex());
            to_host(drop_path(ones, 0.5, &mut passes.next_pass()))
        };
        let (mut first, mut again) = (DropPath::new(1), DropPath::new(1));
        let one = draw(&mut first);
        assert_eq!(one, draw(&mut again));
        assert_ne!(one, draw(&mut first));
    }
}
