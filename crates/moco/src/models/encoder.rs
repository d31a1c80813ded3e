//! Backbone and projection head.

use super::{Backbone, ProjectionHead, ResNet};
use crate::config::{FeatureKind, HeadKind, ModelConfig};
use crate::nn::Mode;
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// An image encoder: the backbone that is kept, and the head that is used for training only.
#[derive(Debug)]
pub struct Encoder {
    /// Images to features.
    pub backbone: Backbone,
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
        Self::of_backbone(Backbone::ResNet(backbone), head, dim, &mut rng, device)
    }

    /// Draws the head of a given backbone from `rng`.
    pub fn of_backbone(
        backbone: Backbone,
        head: HeadKind,
        dim: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let head = ProjectionHead::new(head, backbone.features(), dim, rng, device);
        Self { backbone, head, dim }
    }

    /// Images to the space of the loss.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, dim]`, not normalised.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.head.forward(self.backbone.forward(x, mode))
    }

    /// Frozen features, in evaluation mode.
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
