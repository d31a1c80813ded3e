//! Pixels to tokens.

use super::config::{PatchStem, VitConfig};
use crate::nn::{BatchNorm, Conv, Mode, Module, Param, Visitor, conv_bn_act, init};
use crate::ops::Epilogue;
use crate::ops::linear::linear;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Cuts images into square patches.
///
/// Patches go row by row over the image; within one, values go by row, column and channel, so the
/// channel is innermost (MAE's order).
///
/// # Shapes
/// `[N, H, W, C]` to `[N, (H / p) (W / p), p p C]`; p must divide both sides.
pub fn patchify(images: Tensor<4>, patch: usize) -> Tensor<3> {
    let [n, height, width, c] = images.dims();
    let [h, w] = [height, width].map(|side| side / patch);
    let split = images.reshape([n, h, patch, w, patch, c]);
    split.swap_dims(2, 3).reshape([n, h * w, patch * patch * c])
}

/// Puts patches together again; the inverse of [`patchify`].
///
/// # Shapes
/// `[N, h w, p p C]` to `[N, h p, w p, C]` for a grid of `[h, w]` patches.
pub fn unpatchify(patches: Tensor<3>, [h, w]: [usize; 2], patch: usize) -> Tensor<4> {
    let [n, _, values] = patches.dims();
    let c = values / (patch * patch);
    let split = patches.reshape([n, h, w, patch, patch, c]);
    split.swap_dims(2, 3).reshape([n, h * patch, w * patch, c])
}

/// The patch embedding, under timm's name `proj`.
#[derive(Debug)]
pub(super) struct PatchEmbed {
    proj: Stem,
}

#[derive(Debug)]
enum Stem {
    Linear(PatchProjection),
    Frozen(PatchProjection),
    Conv(ConvStem),
}

impl PatchEmbed {
    pub(super) fn new(config: &VitConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let shape = [config.width, config.channels, config.patch, config.patch];
        let mut projection = |device: &Device| {
            let (weight, bias) = config.init.patch_projection(shape, rng, device);
            PatchProjection { weight: Param::new(weight), bias: Param::new(bias) }
        };
        let proj = match config.stem {
            PatchStem::Linear => Stem::Linear(projection(device)),
            PatchStem::FrozenLinear => Stem::Frozen(projection(&device.clone().without_autodiff())),
            PatchStem::Conv => Stem::Conv(ConvStem::new(config, rng, device)),
        };
        Self { proj }
    }

    /// # Shapes
    /// `[N, H, W, 3]` to `[N, (H / p) (W / p), D]`.
    pub(super) fn forward(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<3> {
        match &mut self.proj {
            Stem::Linear(projection) | Stem::Frozen(projection) => projection.forward(images),
            Stem::Conv(stem) => stem.forward(images, mode),
        }
    }
}

impl Module for PatchEmbed {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        match &mut self.proj {
            Stem::Linear(projection) => visitor.child("proj", projection),
            Stem::Frozen(projection) => visitor.frozen_child("proj", projection),
            Stem::Conv(stem) => visitor.child("proj", stem),
        }
    }
}

/// A convolution whose stride is its kernel, which is a linear map of patches.
#[derive(Debug)]
struct PatchProjection {
    /// `[D, C, p, p]`.
    weight: Param<4>,
    /// `[D]`.
    bias: Param<1>,
}

crate::module!(PatchProjection { weight, bias });

impl PatchProjection {
    fn forward(&self, x: Tensor<4>) -> Tensor<3> {
        let weight = self.weight.val();
        let [d, c, p, _] = weight.dims();
        let weight = weight.permute([0, 2, 3, 1]).reshape([d, p * p * c]);
        linear(patchify(x, p), weight, Some(self.bias.val()))
    }
}

/// The convolutional stem; names number the layers as if ReLUs were layers, as torch does.
#[derive(Debug)]
struct ConvStem {
    halvings: Vec<(Conv, BatchNorm)>,
    output: PatchProjection,
}

impl ConvStem {
    fn new(config: &VitConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let halvings = config.patch.ilog2();
        let mut inputs = config.channels;
        let mut halving = |i: u32| {
            let outputs = config.width >> (halvings - 1 - i);
            let shape = [outputs, inputs, 3, 3];
            let weight = init::linear_uniform(shape, inputs * 9, rng, device);
            inputs = outputs;
            (Conv::of_weight(weight, 2), BatchNorm::new(outputs, config.bn_groups, device))
        };
        let halvings = (0..halvings).map(&mut halving).collect();
        let width = config.width;
        let weight = init::linear_uniform([width, width, 1, 1], width, rng, device);
        let bias = init::linear_uniform([width], width, rng, device);
        let output = PatchProjection { weight: Param::new(weight), bias: Param::new(bias) };
        Self { halvings, output }
    }

    fn forward(&mut self, mut x: Tensor<4>, mode: Mode) -> Tensor<3> {
        for (conv, norm) in &mut self.halvings {
            x = conv_bn_act(x, conv, norm, Epilogue::Relu, mode);
        }
        self.output.forward(x)
    }
}

impl Module for ConvStem {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let mut layer = 0;
        for (conv, norm) in &mut self.halvings {
            visitor.child(&layer.to_string(), conv);
            visitor.child(&(layer + 1).to_string(), norm);
            layer += 3; // convolution, BatchNorm, ReLU
        }
        visitor.child(&layer.to_string(), &mut self.output);
    }
}
