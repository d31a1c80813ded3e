//! CPC's context network: what the rows above say about a place.
//!
//! van den Oord et al. 2018 (arXiv 1807.03748), Sec. 3.2, with the masked convolutions of
//! Hénaff et al. 2020 (arXiv 1905.09272), App. A: no row sees the rows below it.

use crate::nn::{Linear, Param, init};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, s};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What CPC's context network sees beyond the grid of patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextPadding {
    /// Zeros above and at the sides.
    #[default]
    Zeros,
    /// As lightning-bolts has it: a row of ones above, and zeros at the sides of the second
    /// convolution instead of the first.
    Bolts,
}

/// Residual blocks over a grid of features, then ReLU.
#[derive(Debug)]
pub struct Context {
    blocks: Vec<Block>,
    padding: ContextPadding,
}

crate::module!(Context { blocks });

impl Context {
    /// Draws a network for features of width `dim` from `rng`.
    pub fn new(
        dim: usize,
        hidden: usize,
        blocks: usize,
        padding: ContextPadding,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let blocks = (0..blocks).map(|_| Block::new(dim, hidden, rng, device)).collect();
        Self { blocks, padding }
    }

    /// # Shapes
    /// `[N, rows, columns, D]` to the same; row i depends on rows up to i only.
    pub fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        relu(self.blocks.iter().fold(z, |z, block| block.forward(z, self.padding)))
    }
}

/// 1x1, ReLU, 1x3, a row on top, 2x1, ReLU, 1x1, plus the input.
#[derive(Debug)]
struct Block {
    conv1: Linear,
    conv2: Taps,
    conv3: Taps,
    conv4: Linear,
}

crate::module!(Block { conv1, conv2, conv3, conv4 });

impl Block {
    fn new(dim: usize, hidden: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        Self {
            conv1: Linear::new(dim, hidden, rng, device),
            conv2: Taps::new([1, 3], hidden, rng, device),
            conv3: Taps::new([2, 1], hidden, rng, device),
            conv4: Linear::new(hidden, dim, rng, device),
        }
    }

    fn forward(&self, z: Tensor<4>, padding: ContextPadding) -> Tensor<4> {
        let c = relu(self.conv1.forward(z.clone()));
        let c = match padding {
            ContextPadding::Zeros => {
                let c = self.conv2.forward(padded(c, 2, [1, 1], 0.0));
                self.conv3.forward(padded(c, 1, [1, 0], 0.0))
            }
            ContextPadding::Bolts => {
                let c = self.conv2.forward(c);
                self.conv3.forward(padded(padded(c, 1, [1, 0], 1.0), 2, [1, 1], 0.0))
            }
        };
        z + self.conv4.forward(relu(c))
    }
}

/// A convolution of a few taps in one line, as one matrix product over the shifted maps side by
/// side: the grids here are small, 7x7 at most.
#[derive(Debug)]
struct Taps {
    /// `[out, in, height, width]`, as torch's.
    weight: Param<4>,
    bias: Param<1>,
}

crate::module!(Taps { weight, bias });

impl Taps {
    fn new([h, w]: [usize; 2], channels: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let fan_in = channels * h * w;
        let weight = init::linear_uniform([channels, channels, h, w], fan_in, rng, device);
        let bias = init::linear_uniform([channels], fan_in, rng, device);
        Self { weight: Param::new(weight), bias: Param::new(bias) }
    }

    /// The convolution at every place whose taps lie within `x`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let [out, channels, h, w] = weight.dims();
        let [_, rows, columns, _] = x.dims();
        let shifted = (0..h * w).map(|tap| {
            let (i, j) = (tap / w, tap % w);
            x.clone().slice(s![.., i..rows - h + 1 + i, j..columns - w + 1 + j, ..])
        });
        let x = Tensor::cat(shifted.collect(), 3); // taps side by side  [N, rows, columns, taps C]
        let weight = weight.permute([0, 2, 3, 1]).reshape([out, h * w * channels]);
        crate::ops::linear::linear(x, weight, Some(self.bias.val()))
    }
}

/// `x` with so many rows of `value` before and after along one dimension.
fn padded(x: Tensor<4>, dim: usize, [before, after]: [usize; 2], value: f64) -> Tensor<4> {
    let filled = |count: usize| {
        let mut shape = x.dims();
        shape[dim] = count;
        (count > 0).then(|| Tensor::full(shape, value, &x.device()))
    };
    let parts = [filled(before), Some(x.clone()), filled(after)];
    Tensor::cat(parts.into_iter().flatten().collect(), dim)
}
