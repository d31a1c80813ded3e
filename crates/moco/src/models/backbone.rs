//! Images to features: a residual network or a vision transformer.

use super::ResNet;
use crate::config::{FamilyConfig, ModelConfig, RunConfig};
use crate::nn::{Mode, Module, Visitor};
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// What determines a backbone and its first weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// The architecture.
    pub model: ModelConfig,
    /// Height and width of the images it is made for, in pixels; transformers have a position
    /// embedding for each patch.
    pub size: [usize; 2],
    /// Seed of the weights.
    pub seed: u64,
}

impl NetworkSpec {
    /// That of a run: made for the size of its first view.
    ///
    /// # Panics
    /// If the configuration was not validated.
    pub fn of(config: &RunConfig) -> Self {
        let views = config.data.parse_views().expect("validated views");
        Self {
            model: config.model.clone(),
            size: views.first().expect("one view at least").size(),
            seed: config.train.seed,
        }
    }

    /// The same without drop-path: what a teacher is.
    pub fn without_drop_path(mut self) -> Self {
        if let FamilyConfig::Vit(vit) = &mut self.model.family {
            vit.drop_path = 0.0;
        }
        self
    }

    /// The stream that the `part`-th network of a method draws its weights from.
    pub fn weights(&self, part: u64) -> ChaCha8Rng {
        rng::stream(self.seed, Purpose::Weights, part)
    }
}

/// A network from images to features.
#[derive(Debug)]
pub enum Backbone {
    /// Residual network.
    ResNet(ResNet),
}

impl Backbone {
    /// Draws a backbone for images of `channels` channels from `rng`.
    ///
    /// # Panics
    /// If its name is unknown; configurations are validated before.
    pub fn new(spec: &NetworkSpec, channels: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let name = &spec.model.backbone;
        match &spec.model.family {
            FamilyConfig::ResNet(resnet) => {
                let net = ResNet::new(name, resnet, channels, rng, device);
                Backbone::ResNet(net.expect("a validated backbone name"))
            }
            FamilyConfig::Vit(_) => unimplemented!(),
        }
    }

    /// Width of a feature.
    pub fn features(&self) -> usize {
        match self {
            Backbone::ResNet(net) => net.features(),
        }
    }

    /// # Shapes
    /// `[N, H, W, channels]` to `[N, features]`.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Backbone::ResNet(net) => net.forward(x, mode),
        }
    }

    /// Views, which may differ in size; neighbours of one size go through in one pass, so that
    /// they share the statistics of a BatchNorm, as in multi-crop (Caron et al. 2020, arXiv
    /// 2006.09882, App. A).
    ///
    /// # Shapes
    /// V views of `[N, H, W, channels]` to `[V N, features]`, view by view.
    pub fn forward_views(&mut self, views: &[Tensor<4>], mode: Mode) -> Tensor<2> {
        let same_size = |a: &Tensor<4>, b: &Tensor<4>| a.dims() == b.dims();
        let features = views
            .chunk_by(same_size)
            .map(|views| self.forward(Tensor::cat(views.to_vec(), 0), mode))
            .collect();
        Tensor::cat(features, 0)
    }
}

impl Module for Backbone {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        match self {
            Backbone::ResNet(net) => net.visit(visitor),
        }
    }
}
