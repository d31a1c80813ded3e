//! Images to features: a residual network or a vision transformer.

use super::vit::{self, Vit, VitConfig, VitInit};
use super::{Encode, ResNet, ResNetShape};
use crate::config::{
    BACKBONES, ConfigError, FamilyConfig, FeatureKind, MlpKind, ModelConfig, PatchStem, Positions,
    TokenPool, VitModelConfig,
};
use crate::nn::{Mode, Module, Visitor};
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What determines a backbone and its first weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// The architecture.
    pub architecture: Architecture,
    /// Seed of the weights.
    pub seed: u64,
}

/// The architecture of a backbone, in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Residual network.
    #[serde(rename = "resnet")]
    ResNet(ResNetShape),
    /// Vision transformer.
    Vit(VitConfig),
}

/// What comes with a method's paper of a transformer's first weights and positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitForm {
    /// How weights are drawn.
    pub init: VitInit,
    /// Share of a patch that is added to the size when positions are interpolated.
    pub position_nudge: f64,
    /// Fixed positions begin with the column, not with the row.
    pub column_first: bool,
}

impl VitForm {
    /// timm's weights, and positions row by row.
    pub const PLAIN: VitForm =
        VitForm { init: VitInit::Normal, position_nudge: 0.0, column_first: false };
}

impl NetworkSpec {
    /// The backbone that `model` describes, for images of `image` height and width.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is none of [`BACKBONES`], and for sizes of a transformer that do
    /// not go together.
    pub fn new(
        model: &ModelConfig,
        image: [usize; 2],
        form: VitForm,
        seed: u64,
    ) -> Result<Self, ConfigError> {
        let name = model.backbone.as_str();
        let unknown = || ConfigError::unknown_name("model.backbone", name, &BACKBONES);
        let architecture = match &model.family {
            FamilyConfig::ResNet(resnet) => {
                let shape = ResNetShape::named(name, resnet).ok_or_else(unknown)?;
                Architecture::ResNet(ResNetShape { image, ..shape })
            }
            FamilyConfig::Vit(vit) => {
                let named = VitConfig::named(name).ok_or_else(unknown)?;
                let vit = transformer(named, vit, image, form);
                vit.check().map_err(|e| ConfigError::Invalid(format!("[model]: {e}")))?;
                Architecture::Vit(vit)
            }
        };
        Ok(Self { architecture, seed })
    }

    /// The transformer, if this is one.
    pub fn vit(&self) -> Option<&VitConfig> {
        match &self.architecture {
            Architecture::Vit(vit) => Some(vit),
            Architecture::ResNet(_) => None,
        }
    }

    /// BatchNorm groups within a training batch, in the backbone and in heads; 1 in transformers.
    pub fn bn_groups(&self) -> usize {
        match &self.architecture {
            Architecture::Vit(vit) => vit.bn_groups,
            Architecture::ResNet(resnet) => resnet.bn_groups,
        }
    }

    /// This backbone without drop-path, as teachers have it.
    #[must_use]
    pub fn without_drop_path(mut self) -> Self {
        if let Architecture::Vit(vit) = &mut self.architecture {
            vit.drop_path = 0.0;
        }
        self
    }

    /// The stream that the `part`-th network of a method draws its weights from.
    pub fn weights(&self, part: u64) -> ChaCha8Rng {
        rng::stream(self.seed, Purpose::Weights, part)
    }
}

/// A named transformer with the run's choices, and with those that come with a paper.
fn transformer(
    named: VitConfig,
    vit: &VitModelConfig,
    image: [usize; 2],
    form: VitForm,
) -> VitConfig {
    let chosen = VitConfig {
        patch: vit.patch,
        image,
        pool: match vit.pool {
            TokenPool::Class => vit::Pool::Class,
            TokenPool::Mean => vit::Pool::Mean,
        },
        positions: match vit.positions {
            Positions::Learned => vit::Positions::Learned,
            Positions::Sincos if form.column_first => vit::Positions::SincosColumnFirst,
            Positions::Sincos => vit::Positions::SincosRowFirst,
        },
        position_nudge: form.position_nudge,
        stem: match vit.freeze_patch {
            true => vit::PatchStem::FrozenLinear,
            false => vit::PatchStem::Linear,
        },
        drop_path: vit.drop_path,
        init: form.init,
        ..sized(named, vit)
    };
    match vit.patch_stem {
        PatchStem::Linear => chosen,
        PatchStem::Convolutions => chosen.with_conv_stem(),
    }
}

/// The named network with the sizes that were given in their place.
fn sized(named: VitConfig, vit: &VitModelConfig) -> VitConfig {
    let width = vit.embed_dim.unwrap_or(named.width);
    VitConfig {
        width,
        depth: vit.depth.unwrap_or(named.depth),
        heads: vit.heads.unwrap_or(named.heads),
        hidden: vit.mlp_hidden.unwrap_or(4 * width),
        mlp: vit.mlp.unwrap_or(MlpKind::Gelu),
        registers: vit.registers.unwrap_or(0),
        layer_scale: vit.layer_scale,
        norm_epsilon: vit.norm_epsilon.unwrap_or(named.norm_epsilon),
        qkv_bias: vit.qkv_bias.unwrap_or(true),
        class_token: vit.class_token.unwrap_or(true),
        class_position: vit.class_position.unwrap_or(true),
        ..named
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
    /// As [`Vit::new`].
    pub fn new(spec: &NetworkSpec, channels: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        match &spec.architecture {
            Architecture::ResNet(shape) => {
                Backbone::ResNet(ResNet::new(shape, channels, rng, device))
            }
            Architecture::Vit(vit) => Backbone::Vit(Vit::new(vit, rng, device)),
        }
    }

    /// Width of a feature.
    pub fn features(&self) -> usize {
        match self {
            Backbone::ResNet(net) => net.features(),
            Backbone::Vit(net) => net.features(),
        }
    }

    /// The transformer, if this is one.
    pub fn vit(&mut self) -> Option<&mut Vit> {
        match self {
            Backbone::Vit(net) => Some(net),
            Backbone::ResNet(_) => None,
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

    /// A feature for evaluation, before any head.
    ///
    /// # Shapes
    /// `[N, H, W, channels]` to `[N, F]`, F as [`Backbone::width`] says.
    pub fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2> {
        match self {
            Backbone::Vit(net) => Encode::embed(net, x, kind, mode),
            Backbone::ResNet(net) => net.forward(x, mode),
        }
    }

    /// Width of a feature for evaluation.
    pub fn width(&self, kind: FeatureKind) -> usize {
        match self {
            Backbone::Vit(net) => net.width(kind),
            Backbone::ResNet(net) => net.features(),
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
