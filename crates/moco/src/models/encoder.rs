//! Backbone and projection head, and what evaluation asks of any encoder.

use super::{Backbone, Look, Mlp, MlpSpec, NetworkSpec, Vit, look};
use crate::config::FeatureKind;
use crate::nn::{Mode, Module};
use burn::tensor::{Device, Tensor};

/// A network that is evaluated, embedded with and exported.
pub trait Encode: Module {
    /// Features of a batch as the evaluation view made it, not normalised.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, F]`, F as [`Encode::width`] says.
    fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2>;

    /// Width of a feature.
    fn width(&self, kind: FeatureKind) -> usize;

    /// Whether [`FeatureKind::Head`] is another feature than [`FeatureKind::Backbone`].
    fn has_head(&self) -> bool {
        true
    }

    /// The part that is kept after training.
    fn backbone(&mut self) -> &mut dyn Module;

    /// The backbone, if it is a transformer.
    fn vit(&mut self) -> Option<&mut Vit> {
        None
    }

    /// The projection head, if it is a perceptron.
    fn projector(&mut self) -> Option<&mut Mlp> {
        None
    }

    /// Where it looks in each of a batch of images, in evaluation mode, if there is a way to tell.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to maps, as [`Look`] says.
    fn look(&mut self, _: Tensor<4>) -> Option<Look> {
        None
    }
}

/// An image encoder: the backbone that is kept, and the head that is used for training only.
#[derive(Debug)]
pub struct Encoder {
    /// Images to features.
    pub backbone: Backbone,
    /// Features to the space of the loss.
    pub head: Mlp,
}

crate::module!(Encoder { backbone, head });

impl Encoder {
    /// Draws an encoder whose weights are a function of the specification alone. `head` is given
    /// the width of the backbone's features.
    ///
    /// # Panics
    /// If the backbone's name is unknown; configurations are validated before.
    pub fn new(spec: &NetworkSpec, head: impl FnOnce(usize) -> MlpSpec, device: &Device) -> Self {
        let mut rng = spec.weights(0);
        let backbone = Backbone::new(spec, 3, &mut rng, device);
        let features = backbone.features();
        let head = Mlp::new(features, &head(features), &mut rng, device);
        Self { backbone, head }
    }

    /// Images to the space of the loss.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, outputs]`, not normalised.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let features = self.backbone.forward(x, mode);
        self.head.forward(features, mode)
    }

    /// Views, which may differ in size, to the space of the loss.
    ///
    /// # Shapes
    /// V views of `[N, H, W, 3]` to `[V N, outputs]`, view by view, not normalised.
    pub fn forward_views(&mut self, views: &[Tensor<4>], mode: Mode) -> Tensor<2> {
        let features = self.backbone.forward_views(views, mode);
        self.head.forward(features, mode)
    }
}

impl Encode for Encoder {
    fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2> {
        match kind {
            FeatureKind::Head => self.forward(x, mode),
            kind => self.backbone.embed(x, kind, mode),
        }
    }

    fn width(&self, kind: FeatureKind) -> usize {
        match kind {
            FeatureKind::Head => self.head.outputs(),
            kind => self.backbone.width(kind),
        }
    }

    fn backbone(&mut self) -> &mut dyn Module {
        &mut self.backbone
    }

    fn vit(&mut self) -> Option<&mut Vit> {
        self.backbone.vit()
    }

    fn projector(&mut self) -> Option<&mut Mlp> {
        Some(&mut self.head)
    }

    fn look(&mut self, x: Tensor<4>) -> Option<Look> {
        self.backbone.look(x)
    }
}

/// Blocks of [`FeatureKind::LastBlocks`]: DINO's for ViT-S (arXiv 2104.14294, App. F.2).
pub const LAST_BLOCKS: usize = 4;

/// A transformer without a head, as MAE leaves it: the head's output is the backbone's.
impl Encode for Vit {
    fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2> {
        match kind {
            FeatureKind::LastBlocks => self.last_class_tokens(x, LAST_BLOCKS),
            FeatureKind::ClassAndPatches => self.class_and_patches(x),
            FeatureKind::Backbone | FeatureKind::Head => self.forward(x, mode),
        }
    }

    fn width(&self, kind: FeatureKind) -> usize {
        match kind {
            FeatureKind::LastBlocks => LAST_BLOCKS * self.features(),
            FeatureKind::ClassAndPatches => 2 * self.features(),
            FeatureKind::Backbone | FeatureKind::Head => self.features(),
        }
    }

    fn has_head(&self) -> bool {
        false
    }

    fn backbone(&mut self) -> &mut dyn Module {
        self
    }

    fn vit(&mut self) -> Option<&mut Vit> {
        Some(self)
    }

    fn look(&mut self, x: Tensor<4>) -> Option<Look> {
        look::attention(self, x)
    }
}
