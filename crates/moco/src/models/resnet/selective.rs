//! Selective kernels: two convolutions side by side, and how much of each every channel takes.

use super::ResNetShape;
use crate::nn::{Affine, FeatureNorm, Linear, Mode, Param, init};
use crate::ops::pool::global_average_pool;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor, s};
use rand_chacha::ChaCha8Rng;

/// The weights of two convolutions' outputs: Li et al. 2019 (arXiv 1903.06586), Sec. 3.1, as SimCLR v2
/// has it (`SK_Conv2D` of the reference's resnet.py): both kernels are 3x3 and undilated, so that one
/// convolution makes both outputs, and neither layer here has a bias.
#[derive(Debug)]
pub(super) struct Select {
    fc1: Linear,
    bn: FeatureNorm,
    fc2: Linear,
}

crate::module!(Select { fc1, bn, fc2 });

/// The standard deviation of a unit normal that is cut off at two of them.
const CUT_NORMAL: f64 = 0.879_625_661_034_239_8;

impl Select {
    /// For outputs of `width` channels each, through `hidden` ones.
    pub(super) fn new(
        width: usize,
        hidden: usize,
        shape: &ResNetShape,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        Self {
            fc1: layer(width, hidden, rng, device),
            bn: FeatureNorm::new(hidden, shape.bn_groups, Affine::Both, device),
            fc2: layer(hidden, 2 * width, rng, device),
        }
    }

    /// Of each pair of channels `(u, v)`: `a u + (1 - a) v`, `a` from the means of `u + v`.
    ///
    /// # Shapes
    /// `[N, H, W, 2 width]`, all `u` first, to `[N, H, W, width]`.
    ///
    /// # Panics
    /// In training mode, if N is not a multiple of the BatchNorm's groups.
    pub(super) fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let [n, _, _, both] = x.dims();
        let width = both / 2;
        let halves = |x: Tensor<2>| (x.clone().slice(s![.., ..width]), x.slice(s![.., width..]));
        let (u, v) = halves(global_average_pool(x.clone()));
        let hidden = relu(self.bn.forward(self.fc1.forward(u + v), mode));
        // A softmax over two is a sigmoid of their difference.
        let (u, v) = halves(self.fc2.forward(hidden));
        let share = sigmoid(u - v).reshape([n, 1, 1, width]);
        let (u, v) = (x.clone().slice(s![.., .., .., ..width]), x.slice(s![.., .., .., width..]));
        v.clone() + share * (u - v)
    }
}

/// Normal with variance 1 / inputs, cut off at two standard deviations: TensorFlow's
/// `VarianceScaling`.
fn layer(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng, device: &Device) -> Linear {
    let std = (inputs as f64).sqrt().recip() / CUT_NORMAL;
    let weight = init::truncated_normal([outputs, inputs], std, rng, device);
    Linear { weight: Param::new(weight), bias: None }
}
