//! Sizes and choices of a Vision Transformer, and what cannot be built.

use crate::config::MlpKind;
use serde::{Deserialize, Serialize};

/// What a [`super::Vit`] is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Channels of a token, D.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads per block.
    pub heads: usize,
    /// Side of a patch in pixels, p.
    pub patch: usize,
    /// Height and width of the images that the positions are made for; others are interpolated.
    pub image: [usize; 2],
    /// Channels of an image.
    pub channels: usize,
    /// Hidden channels of a block's MLP.
    pub hidden: usize,
    /// What a block's MLP does between its layers.
    pub mlp: MlpKind,
    /// Biases of the query, key and value projections.
    pub qkv_bias: bool,
    /// A learned token in front of the patches.
    pub class_token: bool,
    /// Learned tokens between the class token and the patches, which nothing reads in the end
    /// (Darcet et al. 2023, arXiv 2309.16588).
    pub registers: usize,
    /// First value of the scales on what each residual branch adds, one per channel; `None` for no
    /// such scales (LayerScale: Touvron et al. 2021, arXiv 2103.17239, Sec. 2).
    pub layer_scale: Option<f64>,
    /// What every LayerNorm adds to the variance.
    pub norm_epsilon: f64,
    /// Which token, or tokens, the feature is.
    pub pool: Pool,
    /// Position embedding.
    pub positions: Positions,
    /// Whether the class token has a position of its own, the table's first row.
    pub class_position: bool,
    /// Whether an interpolation to a smaller grid averages over all of the old one, as
    /// `antialias=True` of torch's `interpolate` does.
    pub antialias_positions: bool,
    /// Added to a grid's new side before it is divided by the old one for the scale of an
    /// interpolation. 0 is torch's `size=`; DINO has 0.1, once a guard against rounding.
    pub position_nudge: f64,
    /// Pixels to tokens.
    pub stem: PatchStem,
    /// BatchNorm groups of the convolutional stem, see [`crate::nn::BatchNorm::new`].
    pub bn_groups: usize,
    /// Probability that drop-path leaves out a residual branch of the last block, in [0, 1).
    pub drop_path: f64,
    /// How weights are drawn.
    pub init: VitInit,
}

/// From the tokens of the last block to one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token after the final LayerNorm.
    Class,
    /// The mean over the patches' tokens after the final LayerNorm.
    Mean,
    /// The final LayerNorm of the mean over the patches' tokens: timm's `fc_norm`, and its name.
    MeanBeforeNorm,
}

/// Position embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Trained, one per token and one for the class token.
    Learned,
    /// Fixed 2-D sines and cosines; the first half of the channels varies with the row (MoCo v3).
    SincosRowFirst,
    /// Sines and cosines of the position, the first half of them of the column (MAE).
    SincosColumnFirst,
}

/// Pixels to tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchStem {
    /// One linear map of every patch.
    Linear,
    /// A linear layer that is left as it was drawn: MoCo v3's remedy for instability (arXiv 2104.02057,
    /// Sec. 4.2), `stop_grad_conv1` in its code.
    FrozenLinear,
    /// 3x3 convolutions with stride 2, BatchNorm and ReLU, one per halving, then a 1x1 convolution
    /// (Xiao et al. 2021, arXiv 2106.14881). The width doubles each time and ends at D.
    Conv,
}

/// How weights are drawn. Biases are 0 and LayerNorms 1 and 0 in all of them, and learned positions
/// N(0, 0.02); a convolutional stem starts with torch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VitInit {
    /// Xavier uniform, query, key and value as three matrices; class token N(0, 1e-6).
    MocoV3,
    /// N(0, 0.02), class token included, as DINO; patch projection with torch's default, bias too.
    Normal,
    /// Xavier uniform, query, key and value as one matrix; class token N(0, 0.02); bias of the
    /// patch projection with torch's default.
    Mae,
}

/// A network that cannot be built, or an image that it cannot see.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VitError {
    /// A size of zero.
    #[error("a vision transformer's {what} is 0; set it to at least 1")]
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// The image is no whole number of patches.
    #[error(
        "an image of {height}x{width} pixels does not split into patches of {patch}x{patch}; use sides that are multiples of {patch}, or another patch size"
    )]
    Image {
        /// Its height.
        height: usize,
        /// Its width.
        width: usize,
        /// Side of a patch.
        patch: usize,
    },
    /// The heads do not share the width evenly.
    #[error("{heads} heads do not divide a width of {width}; use a number of heads that does")]
    Heads {
        /// Attention heads.
        heads: usize,
        /// Channels of a token.
        width: usize,
    },
    /// Sines and cosines of two coordinates need four equal parts.
    #[error(
        "sine-cosine positions need a width that is a multiple of 4, not {width}; change the width or use learned positions"
    )]
    SincosWidth {
        /// Channels of a token.
        width: usize,
    },
    /// The stem cannot halve its way to the patch size, or the width does not halve as often.
    #[error(
        "a convolutional stem needs a patch size that is a power of two, at least 2, and a width that is a multiple of half of it, not patch {patch} with width {width}; change one of them or use the linear stem"
    )]
    ConvStem {
        /// Side of a patch.
        patch: usize,
        /// Channels of a token.
        width: usize,
    },
    /// There is no class token to read.
    #[error("{who} needs the class token; set class_token = true")]
    NoClassToken {
        /// What needs it.
        who: &'static str,
    },
    /// A masked autoencoder decodes the class token and the patches, nothing else.
    #[error("a masked autoencoder has no use for register tokens; start from weights without them")]
    Registers,
    /// A probability out of range.
    #[error("drop_path = {0} is not a probability below 1; use a value from 0 to 0.5")]
    DropPath(f64),
}

/// Added to variances in the transformers of this family; torch's own default is 1e-5.
const NORM_EPSILON: f64 = 1e-6;

/// A name, its width, depth, heads, patch size and image side.
type Named = (&'static str, [usize; 5]);

/// Touvron et al. 2020 (arXiv 2012.12877), Table 1, and Dosovitskiy et al. 2020 (arXiv 2010.11929),
/// Table 1; with 12 heads, MoCo v3's ViT-S; and one for images of 32 pixels on a few CPU cores.
const NAMED: [Named; 7] = [
    ("vit-micro", [128, 6, 4, 4, 32]),
    ("vit-tiny", [192, 12, 3, 16, 224]),
    ("vit-small", [384, 12, 6, 16, 224]),
    ("vit-small-moco", [384, 12, 12, 16, 224]),
    ("vit-base", [768, 12, 12, 16, 224]),
    ("vit-large", [1024, 24, 16, 16, 224]),
    ("vit-huge", [1280, 32, 16, 14, 224]),
];

impl VitConfig {
    /// The names that [`VitConfig::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The published network of a name, with learned positions, class token and [`VitInit::Normal`].
    pub fn named(name: &str) -> Option<Self> {
        let (_, [width, depth, heads, patch, side]) =
            NAMED.iter().find(|(known, _)| *known == name)?;
        Some(Self::of_size([*width, *depth, *heads], *patch, [*side; 2]))
    }

    /// The usual choices for a network of any `[width, depth, heads]`.
    pub fn of_size([width, depth, heads]: [usize; 3], patch: usize, image: [usize; 2]) -> Self {
        Self {
            width,
            depth,
            heads,
            patch,
            image,
            channels: 3,
            hidden: 4 * width,
            mlp: MlpKind::Gelu,
            qkv_bias: true,
            class_token: true,
            registers: 0,
            layer_scale: None,
            norm_epsilon: NORM_EPSILON,
            pool: Pool::Class,
            positions: Positions::Learned,
            class_position: true,
            antialias_positions: false,
            position_nudge: 0.0,
            stem: PatchStem::Linear,
            bn_groups: 1,
            drop_path: 0.0,
            init: VitInit::Normal,
        }
    }

    /// This network with a convolutional stem in the place of its first block.
    #[must_use]
    pub fn with_conv_stem(self) -> Self {
        Self { stem: PatchStem::Conv, depth: self.depth.saturating_sub(1), ..self }
    }

    /// Tokens in front of the patches.
    pub fn prefix_tokens(&self) -> usize {
        usize::from(self.class_token) + self.registers
    }

    /// Rows and columns of the patches of the images that positions are made for.
    pub fn grid(&self) -> [usize; 2] {
        self.image.map(|side| side / self.patch)
    }

    /// Whether the network can be built.
    ///
    /// # Errors
    /// [`VitError`], for the first thing that is wrong.
    pub fn check(&self) -> Result<(), VitError> {
        let Self { width, depth, heads, patch, .. } = *self;
        let positive = [
            ("width", width),
            ("depth", depth),
            ("heads", heads),
            ("patch", patch),
            ("channels", self.channels),
            ("hidden", self.hidden),
            ("bn_groups", self.bn_groups),
        ];
        if let Some((what, _)) = positive.into_iter().find(|(_, size)| *size == 0) {
            return Err(VitError::Zero { what });
        }
        self.check_image(self.image)?;
        if !width.is_multiple_of(heads) {
            return Err(VitError::Heads { heads, width });
        }
        if self.positions != Positions::Learned && !width.is_multiple_of(4) {
            return Err(VitError::SincosWidth { width });
        }
        let halves = patch.is_power_of_two() && patch > 1 && width.is_multiple_of(patch / 2);
        if self.stem == PatchStem::Conv && !halves {
            return Err(VitError::ConvStem { patch, width });
        }
        if self.pool == Pool::Class && !self.class_token {
            return Err(VitError::NoClassToken { who: "pool = \"class\"" });
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            return Err(VitError::DropPath(self.drop_path));
        }
        Ok(())
    }

    /// Whether the network can see images of `[height, width]`.
    ///
    /// # Errors
    /// [`VitError::Image`].
    pub fn check_image(&self, [height, width]: [usize; 2]) -> Result<(), VitError> {
        let patch = self.patch;
        let splits = |side: usize| side > 0 && side.is_multiple_of(patch);
        if splits(height) && splits(width) {
            Ok(())
        } else {
            Err(VitError::Image { height, width, patch })
        }
    }
}
