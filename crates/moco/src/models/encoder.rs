//! Backbone and projection head.

use super::{ProjectionHead, ResNet};
use crate::config::{FeatureKind, HeadKind, ModelConfig};
use crate::nn::Mode;
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor};

/// An image encoder: the backbone that is kept, and the head that is used for training only.
#[derive(Debug)]
pub struct Encoder {
    /// Images to features.
    pub backbone: ResNet,
    /// Features to the space of the loss.
    pub head: ProjectionHead,
    dim: usize,
}

crate::module!(Encoder { backbone, head });

impl Encoder {
    /// Draws an encoder whose weights are a function of `seed` alone.
    ///
    /// # Panics
    /// If the backbone's name is unknown; configurations are validated before.
    pub fn new(
        model: &ModelConfig,
        head: HeadKind,
        dim: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        let mut rng = rng::stream(seed, Purpose::Weights, 0);
        let backbone = ResNet::new(model, &mut rng, device).expect("a validated backbone name");
        let head = ProjectionHead::new(head, backbone.features(), dim, &mut rng, device);
        Self { backbone, head, dim }
    }

    /// Images to the space of the loss.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, dim]`, not normalised.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.head.forward(self.backbone.forward(x, mode))
    }

    /// Frozen features, with running BatchNorm statistics.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, F]`, F as [`Encoder::width`] says; not normalised.
    pub fn features(&mut self, x: Tensor<4>, kind: FeatureKind) -> Tensor<2> {
        match kind {
            FeatureKind::Backbone => self.backbone.forward(x, Mode::Eval),
            FeatureKind::Head => self.forward(x, Mode::Eval),
        }
    }

    /// Width of a feature.
    pub fn width(&self, kind: FeatureKind) -> usize {
        match kind {
            FeatureKind::Backbone => self.backbone.features(),
            FeatureKind::Head => self.dim,
        }
    }
}
