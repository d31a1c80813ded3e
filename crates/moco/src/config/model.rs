//! The backbone's settings.

use super::field::{COUNTS, FLAG, POSITIVE, WIDE, count, one_of, real};
use crate::settings;
use serde::{Deserialize, Serialize};

/// Backbones by name, smallest first within a family.
pub const BACKBONES: [&str; 13] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet200",
    "vit-micro",
    "vit-tiny",
    "vit-small",
    "vit-small-moco",
    "vit-base",
    "vit-large",
    "vit-huge",
];

/// The backbone: its name, and the settings of its family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// One of [`super::BACKBONES`].
    pub backbone: String,
    /// What can be chosen about it.
    #[serde(flatten)]
    pub family: FamilyConfig,
}

impl ModelConfig {
    /// The settings of a residual network, if this is one.
    pub fn resnet(&self) -> Option<&ResNetConfig> {
        match &self.family {
            FamilyConfig::ResNet(resnet) => Some(resnet),
            FamilyConfig::Vit(_) => None,
        }
    }

    /// The settings of a vision transformer, if this is one.
    pub fn vit(&self) -> Option<&VitModelConfig> {
        match &self.family {
            FamilyConfig::Vit(vit) => Some(vit),
            FamilyConfig::ResNet(_) => None,
        }
    }

    /// BatchNorm groups within a training batch, in the backbone and in heads; 1 without.
    pub fn bn_groups(&self) -> usize {
        self.resnet().map_or(1, |resnet| resnet.bn_groups)
    }
}

/// Settings by family of networks. The fields tell them apart, so the file needs no further tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FamilyConfig {
    /// `resnet18` and its like.
    ResNet(ResNetConfig),
    /// `vit-small` and its like.
    Vit(VitModelConfig),
}

settings! {
    /// Settings of a residual network.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct ResNetConfig {
        /// Channels of the first stage; 64 is the published network.
        pub width: usize => WIDE,
        /// First layers: `imagenet` (7x7 stride 2, max-pool), `deep` (three of 3x3, stride 2 in the first,
        /// max-pool) or `cifar` (3x3 stride 1, no pool).
        pub stem: StemKind => one_of(&["imagenet", "cifar", "deep"]),
        /// Stages of residual blocks, 1..=4; each after the first halves the map and doubles the width.
        pub stages: usize => count(1, 4),
        /// Normalisation after each convolution.
        pub norm: NormKind => one_of(&["batch", "layer", "nothing", "map"]),
        /// How the convolutions' weights are drawn.
        #[serde(default)]
        pub init: ConvInit => one_of(&["fan-out", "torch"]).optional(),
        /// Start every residual branch at zero (its last normalisation's scale).
        pub zero_init_residual: bool => FLAG,
        /// BatchNorm groups within a training batch; group g holds the samples n with n mod groups = g.
        /// 1 is ordinary BatchNorm. Emulates one statistic per GPU on a single device.
        pub bn_groups: usize => count(1, 1 << 16),
        /// Channels of the first layer; without it as many as the first stage's `width`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stem_width: Option<usize> => WIDE.optional(),
        /// Blocks of each stage; without it those of the network's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub blocks: Option<Vec<usize>> => COUNTS.optional(),
        /// A projection in the first stage's first skip connection even where it changes no shape, as in
        /// SimCLR's code; without it none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub first_projection: Option<bool> => FLAG.optional(),
        /// A 2x2 average in a skip connection that is projected, in place of the projection's stride:
        /// ResNet-D (He et al. 2019, arXiv 1812.01187, Fig. 2c). As in SimCLR's code the first stage has one
        /// too, at stride 1. Without it none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub average_skips: Option<bool> => FLAG.optional(),
        /// Selective kernels in the bottlenecks: hidden channels of the layers that weigh them, as a share of
        /// the block's width, at least 32; 0.0625 in SimCLR v2. Without it one kernel a block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sk_ratio: Option<f64> => POSITIVE.optional(),
    }
}

/// How a convolution's weights are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConvInit {
    /// Normal with variance 2 / fan out: torchvision's networks.
    #[default]
    FanOut,
    /// Uniform with variance 1 / (3 fan in): torch's default, for networks that leave it at that, as
    /// InstDisc's and InvaSpread's for CIFAR-10.
    Torch,
}

/// First layers of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StemKind {
    /// 7x7 convolution with stride 2, then a 3x3 max-pool with stride 2.
    Imagenet,
    /// 3x3 convolution with stride 1, no pooling.
    Cifar,
    /// Three 3x3 convolutions, the first with stride 2 and, as the second, half the channels, then a 3x3
    /// max-pool with stride 2: ResNet-D (He et al. 2019, arXiv 1812.01187, Fig. 2b).
    Deep,
}

/// Normalisation after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Over the batch, the published network.
    Batch,
    /// Over the channels of each position: CPC, whose patches must not see one another.
    Layer,
    /// None: CPC v1.
    Nothing,
    /// Over all positions and channels of an image, with a scale for each: lightning-bolts' CPC. The
    /// network is then for images of one size.
    Map,
}

settings! {
    /// Settings of a vision transformer. What is `None` comes with its name.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct VitModelConfig {
        /// Side of a patch, in pixels.
        pub patch: usize => count(1, 1024),
        /// Position embedding.
        pub positions: Positions => one_of(&["learned", "sincos"]),
        /// What the feature is.
        pub pool: TokenPool => one_of(&["class", "mean"]),
        /// First layers.
        pub patch_stem: PatchStem => one_of(&["linear", "convolutions"]),
        /// Chance of dropping a residual branch in the last block, 0..1; earlier blocks in proportion.
        pub drop_path: f64 => real(0.0, 0.99),
        /// Leave the patch projection as it was drawn: MoCo v3, Sec. 4.2.
        pub freeze_patch: bool => FLAG,
        /// Channels of a token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub embed_dim: Option<usize> => WIDE.optional(),
        /// Transformer blocks, a convolutional stem counted as one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub depth: Option<usize> => count(1, 1000).optional(),
        /// Attention heads of a block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub heads: Option<usize> => count(1, 1024).optional(),
        /// Hidden channels of a block's MLP; without it four times `embed_dim`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mlp_hidden: Option<usize> => WIDE.optional(),
        /// What an MLP does between its layers; without it GELU.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mlp: Option<MlpKind> => one_of(&["gelu", "swiglu"]).optional(),
        /// Register tokens; without it none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub registers: Option<usize> => count(0, 1024).optional(),
        /// First value of the scales of residual branches, above 0; without it there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub layer_scale: Option<f64> => POSITIVE.optional(),
        /// What LayerNorms add to the variance, above 0; without it 1e-6.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub norm_epsilon: Option<f64> => POSITIVE.optional(),
        /// Whether queries, keys and values have a bias; without it they do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub qkv_bias: Option<bool> => FLAG.optional(),
        /// Whether there is a class token; without it there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub class_token: Option<bool> => FLAG.optional(),
        /// Whether the class token has a position; without it it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub class_position: Option<bool> => FLAG.optional(),
    }
}

/// What the MLP of a transformer's block does between its two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MlpKind {
    /// The exact GELU.
    Gelu,
    /// The first layer is twice as wide, and `silu(a) b` of its two halves goes on (Shazeer 2020,
    /// arXiv 2002.05202): DINOv2's largest network.
    Swiglu,
}

/// Position embeddings of a vision transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Trained, and interpolated for images of another size.
    Learned,
    /// Fixed sines and cosines of the two coordinates.
    Sincos,
}

/// What a vision transformer's feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenPool {
    /// The class token.
    Class,
    /// The mean of the patch tokens.
    Mean,
}

/// First layers of a vision transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchStem {
    /// One linear projection of each patch.
    Linear,
    /// Convolutions of stride 2 with BatchNorm, and one transformer block less (Xiao et al. 2021,
    /// arXiv 2106.14881); patches of 16 pixels.
    Convolutions,
}
