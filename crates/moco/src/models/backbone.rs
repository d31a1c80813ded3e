//! Images to features: a residual network or a vision transformer.

use super::ResNet;
use super::vit::{self, Vit, VitConfig, VitInit};
use crate::config::{
    FamilyConfig, MethodConfig, ModelConfig, PatchStem, Positions, RunConfig, TokenPool,
    VitModelConfig,
};
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
    /// How a transformer's weights are drawn, which differs between papers.
    pub init: VitInit,
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
            init: match config.method {
                MethodConfig::MocoV3(_) => VitInit::MocoV3,
                MethodConfig::Mae(_) => VitInit::Mae,
                _ => VitInit::Normal,
            },
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

    /// The transformer in full, if this is one.
    ///
    /// # Panics
    /// If its name is unknown; configurations are validated before.
    pub fn vit(&self) -> Option<VitConfig> {
        let vit = self.model.vit()?;
        let named = VitConfig::named(&self.model.backbone).expect("a validated backbone name");
        Some(self.chosen(named, vit))
    }

    /// `named` with the run's choices and those that come with the paper's way of drawing weights.
    fn chosen(&self, named: VitConfig, vit: &VitModelConfig) -> VitConfig {
        let mae = self.init == VitInit::Mae;
        let chosen = VitConfig {
            patch: vit.patch,
            image: self.size,
            pool: match vit.pool {
                TokenPool::Class => vit::Pool::Class,
                TokenPool::Mean => vit::Pool::Mean,
            },
            positions: match vit.positions {
                Positions::Learned => vit::Positions::Learned,
                Positions::Sincos if mae => vit::Positions::SincosColumnFirst,
                Positions::Sincos => vit::Positions::SincosRowFirst,
            },
            stem: match vit.freeze_patch {
                true => vit::PatchStem::FrozenLinear,
                false => vit::PatchStem::Linear,
            },
            drop_path: vit.drop_path,
            init: self.init,
            ..named
        };
        match vit.patch_stem {
            PatchStem::Linear => chosen,
            PatchStem::Convolutions => chosen.with_conv_stem(),
        }
    }

    /// The stream that the `part`-th network of a method draws its weights from.
    pub fn weights(&self, part: u64) -> ChaCha8Rng {
        rng::stream(self.seed, Purpose::Weights, part)
    }
}

/// A network from images to features.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per encoder, never moved in a loop")]
pub enum Backbone {
    /// Residual network.
    ResNet(ResNet),
    /// Vision transformer.
    Vit(Vit),
}

impl Backbone {
    /// Draws a backbone for images of `channels` channels from `rng`.
    ///
    /// # Panics
    /// If its name is unknown; configurations are validated before.
    pub fn new(spec: &NetworkSpec, channels: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        match (&spec.model.family, spec.vit()) {
            (FamilyConfig::ResNet(resnet), _) => {
                let net = ResNet::new(&spec.model.backbone, resnet, channels, rng, device);
                Backbone::ResNet(net.expect("a validated backbone name"))
            }
            (FamilyConfig::Vit(_), vit) => {
                let vit = vit.expect("a transformer's configuration");
                Backbone::Vit(Vit::new(&vit, rng, device).expect("a validated transformer"))
            }
        }
    }

    /// Width of a feature.
    pub fn features(&self) -> usize {
        match self {
            Backbone::ResNet(net) => net.features(),
            Backbone::Vit(net) => net.features(),
        }
    }

    /// # Shapes
    /// `[N, H, W, channels]` to `[N, features]`.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Backbone::ResNet(net) => net.forward(x, mode),
            Backbone::Vit(net) => net.forward(x, mode),
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
            Backbone::Vit(net) => net.visit(visitor),
        }
    }
}
