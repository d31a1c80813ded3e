//! The partition function of noise-contrastive estimation, held constant.
//!
//! Wu et al. 2018 (arXiv 1805.01978), Sec. 3.2, Eq. 6: Z is estimated once, from the first batch,
//! and treated as a constant from then on.

use super::mean_over_ranks;
use crate::batch::to_host;
use crate::nn::Buffer;
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;

/// Z, once it is known.
#[derive(Debug)]
pub struct Partition {
    z: Buffer<1>,
    peers: Peers,
}

crate::module!(Partition { z, peers });

/// No sum of exponentials is 0.
const UNKNOWN: f32 = 0.0;

impl Partition {
    /// Not known yet.
    pub fn new(device: &Device) -> Self {
        Self { z: Buffer::new(Tensor::full([1], UNKNOWN, device)), peers: Peers::SOLO }
    }

    /// Z, `[1]`: at the first call the mean of `exp(score / temperature)` times the number of
    /// `images`, then that same number for ever.
    ///
    /// # Shapes
    /// `scores` is `[N, 1 + m]`.
    pub fn z(&mut self, scores: &Tensor<2>, temperature: f64, images: usize) -> Tensor<1> {
        if to_host(self.z.val()) == [UNKNOWN] {
            let scores = scores.clone().without_autodiff();
            let mean = (scores / temperature).exp().mean();
            let mean = mean_over_ranks(mean, self.peers, "partition function");
            self.z = Buffer::new(mean * images as f64);
        }
        self.z.val()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Z is frozen from the second step on.
    #[test]
    fn the_first_scores_decide() {
        let device = Device::flex();
        let scores = |a: f32, b: f32| Tensor::<2>::from_data([[a, b]], &device);
        let mut partition = Partition::new(&device);
        let first = to_host(partition.z(&scores(0.5, -0.5), 0.5, 10))[0];
        let expected = 10.0 * 1.0f64.cosh();
        assert!((f64::from(first) - expected).abs() < 1e-5 * expected, "{first}");
        assert_eq!(to_host(partition.z(&scores(0.9, 0.9), 0.5, 10)), [first]);
    }
}
