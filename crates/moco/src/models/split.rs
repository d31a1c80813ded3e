//! Two encoders for two groups of channels: luminance and colour.
//!
//! Tian et al. 2020 (arXiv 1906.05849), Sec. 3: each view has a network of its own, and what is
//! evaluated is the concatenation of both features.

use super::{Backbone, Encode, Look, Mlp, MlpSpec, NetworkSpec};
use crate::config::FeatureKind;
use crate::nn::{Mode, Module};
use burn::tensor::{Device, Tensor, s};

/// One of something for the first channel of an image, and one for the other two.
#[derive(Debug)]
pub struct Split<M> {
    /// For the first channel.
    pub luma: M,
    /// For the second and third channel.
    pub chroma: M,
}

impl<M: Module> Module for Split<M> {
    fn visit(&mut self, visitor: &mut crate::nn::Visitor<'_>) {
        visitor.child("luma", &mut self.luma);
        visitor.child("chroma", &mut self.chroma);
    }
}

/// An encoder of images whose first channel is luminance.
#[derive(Debug)]
pub struct SplitEncoder {
    /// Channels to features.
    pub backbone: Split<Backbone>,
    /// Features to the space of the loss.
    pub head: Split<Mlp>,
}

crate::module!(SplitEncoder { backbone, head });

impl SplitEncoder {
    /// Draws both encoders; their weights are a function of the specification alone.
    ///
    /// # Panics
    /// If the backbone's name is unknown; configurations are validated before.
    pub fn new(spec: &NetworkSpec, head: &MlpSpec, device: &Device) -> Self {
        let side = |part, channels| {
            let mut rng = spec.weights(part);
            let backbone = Backbone::new(spec, channels, &mut rng, device);
            let head = Mlp::new(backbone.features(), head, &mut rng, device);
            (backbone, head)
        };
        let (luma, chroma) = (side(0, 1), side(1, 2));
        Self {
            backbone: Split { luma: luma.0, chroma: chroma.0 },
            head: Split { luma: luma.1, chroma: chroma.1 },
        }
    }

    /// The features of both sides, each of shape `[N, features]`.
    fn features(&mut self, x: Tensor<4>, mode: Mode) -> [Tensor<2>; 2] {
        let [luma, chroma] = [s![0..1], s![1..3]].map(|channels| x.clone().slice_dim(3, channels));
        [self.backbone.luma.forward(luma, mode), self.backbone.chroma.forward(chroma, mode)]
    }

    /// Images to the space of the loss, luminance and colour.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to twice `[N, outputs]`, not normalised.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> [Tensor<2>; 2] {
        let [luma, chroma] = self.features(x, mode);
        [self.head.luma.forward(luma, mode), self.head.chroma.forward(chroma, mode)]
    }
}

impl Encode for SplitEncoder {
    fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2> {
        let sides = match kind {
            FeatureKind::Head => self.forward(x, mode),
            _ => self.features(x, mode),
        };
        Tensor::cat(sides.to_vec(), 1)
    }

    fn width(&self, kind: FeatureKind) -> usize {
        match kind {
            FeatureKind::Head => self.head.luma.outputs() + self.head.chroma.outputs(),
            _ => self.backbone.luma.features() + self.backbone.chroma.features(),
        }
    }

    fn backbone(&mut self) -> &mut dyn Module {
        &mut self.backbone
    }

    /// One map of luminance and one of colour.
    fn look(&mut self, x: Tensor<4>) -> Option<Look> {
        let [luma, chroma] = [s![0..1], s![1..3]].map(|channels| x.clone().slice_dim(3, channels));
        match (self.backbone.luma.look(luma)?, self.backbone.chroma.look(chroma)?) {
            (Look::Energy(luma), Look::Energy(chroma)) => {
                Some(Look::Energy(Tensor::cat(vec![luma, chroma], 1)))
            }
            _ => None,
        }
    }
}
