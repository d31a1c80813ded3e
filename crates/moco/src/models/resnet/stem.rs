//! The first layers of a residual network, up to the last one's normalisation.

use super::{ResNetShape, norm, with_border};
use crate::config::StemKind;
use crate::nn::{Conv, ConvNorm, Mode, Module, Visitor, conv_norm_act};
use crate::ops::Epilogue;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// One convolution, or the three of ResNet-D (He et al. 2019, arXiv 1812.01187, Fig. 2b), whose last
/// one's normalisation is the network's `bn1`.
///
/// Names are torchvision's, `weight`; with three convolutions timm's: `0.weight`, `1.*` of its
/// normalisation, `3.weight`, `4.*` and `6.weight`.
#[derive(Debug)]
pub(super) struct Stem {
    /// Each with its normalisation and a ReLU; none in the published ResNet.
    before: Vec<(Conv, ConvNorm)>,
    last: Conv,
    kind: StemKind,
    padding: usize,
}

impl Module for Stem {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        if self.before.is_empty() {
            return self.last.visit(visitor);
        }
        // Two layers and their ReLU take three numbers.
        for (i, (conv, norm)) in self.before.iter_mut().enumerate() {
            visitor.child(&(3 * i).to_string(), conv);
            visitor.child(&(3 * i + 1).to_string(), norm);
        }
        visitor.child(&(3 * self.before.len()).to_string(), &mut self.last);
    }
}

impl Stem {
    /// Draws the layers for images of `channels` channels.
    pub(super) fn new(
        shape: &ResNetShape,
        channels: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let (width, kind, padding) = (shape.stem_width, shape.stem, shape.stem_padding);
        let mut conv = |inputs, outputs, kernel, stride| {
            Conv::new(inputs, outputs, kernel, stride, rng, device)
        };
        let (before, last) = match kind {
            StemKind::Imagenet => (Vec::new(), conv(channels, width, 7, 2)),
            StemKind::Cifar => (Vec::new(), conv(channels, width, 3, 1)),
            StemKind::Deep => {
                let half = width / 2;
                let map = shape.image.map(|side| side.div_ceil(2));
                let norm = || norm(half, map, shape, device);
                let before =
                    vec![(conv(channels, half, 3, 2), norm()), (conv(half, half, 3, 1), norm())];
                (before, conv(half, width, 3, 1))
            }
        };
        Self { before, last, kind, padding }
    }

    /// Height and width of what the last convolution makes of images of this size.
    pub(super) fn outputs_map(&self, image: [usize; 2]) -> [usize; 2] {
        let stride = if self.kind == StemKind::Cifar { 1 } else { 2 };
        image.map(|side| (side + 2 * self.padding).div_ceil(stride))
    }

    /// # Shapes
    /// `[N, H, W, channels]` to the maps that the first stage sees.
    pub(super) fn forward(&mut self, x: Tensor<4>, norm: &mut ConvNorm, mode: Mode) -> Tensor<4> {
        let x = with_border(x, self.padding);
        let relu = Epilogue::Relu;
        let x = self
            .before
            .iter_mut()
            .fold(x, |x, (conv, norm)| conv_norm_act(x, conv, norm, relu.clone(), mode));
        let last = match self.kind {
            StemKind::Imagenet | StemKind::Deep => Epilogue::ReluMaxPool,
            StemKind::Cifar => relu,
        };
        conv_norm_act(x, &self.last, norm, last, mode)
    }
}
