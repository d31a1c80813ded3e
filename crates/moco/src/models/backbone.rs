//! Any of the networks that turn an image into a feature.

use super::{ResNet, Vit};
use crate::nn::{Mode, Module, Visitor};
use burn::tensor::Tensor;

/// The part of an encoder that is kept after training.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per encoder, never moved in a loop")]
pub enum Backbone {
    /// A residual network.
    ResNet(ResNet),
    /// A Vision Transformer.
    Vit(Vit),
}

impl Backbone {
    /// Images to features.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, F]`, F as [`Backbone::features`] says.
    ///
    /// # Panics
    /// For a Vision Transformer as [`Vit::forward`].
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Self::ResNet(net) => net.forward(x, mode),
            Self::Vit(net) => net.forward(x, mode),
        }
    }

    /// Width of a feature.
    pub fn features(&self) -> usize {
        match self {
            Self::ResNet(net) => net.features(),
            Self::Vit(net) => net.features(),
        }
    }
}

impl Module for Backbone {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        match self {
            Self::ResNet(net) => net.visit(visitor),
            Self::Vit(net) => net.visit(visitor),
        }
    }
}
