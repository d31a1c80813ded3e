//! What a network is made of, as its tensors say: plain data.

use serde::{Deserialize, Serialize};

/// A backbone, without any head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Residual network. Its tensors have torchvision's names.
    ResNet(ResNet),
    /// Vision transformer. Its tensors have timm's names.
    Vit(Vit),
    /// Two residual networks on parts of one image's channels, as CMC has for L and ab. Their tensors
    /// begin with `luma.` and `chroma.`; the feature is the first's, then the second's.
    Pair {
        /// On the first channel, L.
        luma: ResNet,
        /// On the other two, ab.
        chroma: ResNet,
    },
}

/// A residual network: He et al. 2016 (arXiv 1512.03385), in torchvision's arrangement, where the 3x3
/// convolution of a bottleneck has the stride. BatchNorm's epsilon is 1e-5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResNet {
    /// What a block is made of.
    pub block: ResidualBlock,
    /// Blocks of each stage, with as many entries as there are stages.
    pub blocks: Vec<usize>,
    /// Channels of the 3x3 convolutions of the first stage; each further stage has twice as many.
    pub width: usize,
    /// Channels behind the stem. As wide as the first stage but for CMC's, whose code has 64 channels
    /// here whatever the width.
    pub stem_width: usize,
    /// The layers in front of the first stage.
    pub stem: ResNetStem,
    /// Channels of the image.
    pub in_channels: usize,
    /// For each stage and block, whether its skip connection has a 1x1 convolution with BatchNorm
    /// (`downsample`). Torchvision has one in the first block of a stage, and in basic blocks not in
    /// that of the first stage; see [`ResNet::has_usual_projections`].
    pub projections: Vec<Vec<bool>>,
    /// Whether the bottlenecks have selective kernels and projected skip connections an average before
    /// them: SimCLR v2 (Chen et al. 2020, arXiv 2006.10029, Sec. 3).
    #[serde(default)]
    pub selective: bool,
}

/// The two kinds of residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResidualBlock {
    /// Two 3x3 convolutions.
    Basic,
    /// Convolutions of 1x1, 3x3 and 1x1, the last with four times the channels.
    Bottleneck,
}

/// The layers in front of a residual network's first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResNetStem {
    /// 7x7 with stride 2 and padding 3, then a max-pool of 3x3 with stride 2.
    Imagenet,
    /// 3x3 with stride 1 and no pool.
    Cifar {
        /// Zeros around the image: 1, and 2 in solo-learn, which makes the map two larger.
        padding: usize,
    },
    /// Three 3x3 convolutions, the first with stride 2, the first two of half the channels, then a
    /// max-pool of 3x3 with stride 2: ResNet-D (He et al. 2019, arXiv 1812.01187, Fig. 2b).
    Deep,
}

impl ResNet {
    /// Hidden channels of a selection of SimCLR v2's networks for each channel of a block, and at least.
    pub const SELECTION: (f64, usize) = (1.0 / 16.0, 32);

    /// Hidden channels of the selections of a stage, counted from 0.
    pub fn selection(&self, stage: usize) -> usize {
        let (share, least) = Self::SELECTION;
        (((self.width << stage) as f64 * share) as usize).max(least)
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        self.stage_outputs(self.blocks.len().saturating_sub(1))
    }

    /// Channels that come out of a stage, counted from 0.
    pub fn stage_outputs(&self, stage: usize) -> usize {
        let inner = self.width << stage;
        match self.block {
            ResidualBlock::Basic => inner,
            ResidualBlock::Bottleneck => 4 * inner,
        }
    }

    /// Whether skip connections have a convolution exactly where a block changes shape, as
    /// torchvision has it.
    pub fn has_usual_projections(&self) -> bool {
        self.projections.iter().enumerate().all(|(stage, blocks)| {
            let inputs = if stage == 0 { self.stem_width } else { self.stage_outputs(stage - 1) };
            let first = stage > 0 || inputs != self.stage_outputs(0);
            blocks.iter().enumerate().all(|(i, &has)| has == (first && i == 0))
        })
    }

    /// torchvision's name of the depths, or the depths.
    pub fn name(&self) -> String {
        let known = match (self.block, self.blocks.as_slice()) {
            (ResidualBlock::Basic, [2, 2, 2, 2]) => "ResNet-18",
            (ResidualBlock::Basic, [3, 4, 6, 3]) => "ResNet-34",
            (ResidualBlock::Bottleneck, [3, 4, 6, 3]) => "ResNet-50",
            (ResidualBlock::Bottleneck, [3, 4, 23, 3]) => "ResNet-101",
            (ResidualBlock::Bottleneck, [3, 8, 36, 3]) => "ResNet-152",
            (ResidualBlock::Bottleneck, [3, 24, 36, 3]) => "ResNet-200",
            (ResidualBlock::Basic, blocks) => return format!("ResNet of basic blocks {blocks:?}"),
            (_, blocks) => return format!("ResNet of bottlenecks {blocks:?}"),
        };
        known.to_owned()
    }
}

/// A vision transformer with pre-norm blocks: Dosovitskiy et al. 2020 (arXiv 2010.11929), in timm's
/// arrangement. GELU is exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vit {
    /// Channels of a token, D.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads, which the shapes do not say.
    pub heads: usize,
    /// Where `heads` comes from.
    pub heads_from: HeadsFrom,
    /// Channels between the two layers of a block's MLP, behind the gate in SwiGLU.
    pub mlp_hidden: usize,
    /// Kind of the blocks' MLP.
    pub mlp: Mlp,
    /// Height and width of a patch in pixels.
    pub patch: [usize; 2],
    /// Rows and columns of patches that the positions are for.
    pub grid: [usize; 2],
    /// Channels of the image.
    pub in_channels: usize,
    /// Whether there is a class token, the first of the tokens.
    pub class_token: bool,
    /// Register tokens (Darcet et al. 2023, arXiv 2309.16588), between the class token and the
    /// patches. They have no positions.
    pub registers: usize,
    /// Position embedding.
    pub positions: Positions,
    /// Whether the table of positions has a row for the class token, in front of the patches'.
    pub class_position: bool,
    /// Whether each branch of a block is scaled per channel (`ls1.gamma`, `ls2.gamma`).
    pub layer_scale: bool,
    /// Whether query, key and value have biases.
    pub qkv_bias: bool,
    /// Epsilon of every LayerNorm.
    pub norm_eps: f64,
    /// From tokens to the feature.
    pub pool: Pool,
    /// Where the final LayerNorm is.
    pub final_norm: FinalNorm,
    /// Pixels to tokens.
    pub stem: PatchStem,
    /// How positions are fitted to another grid.
    pub interpolation: Interpolation,
}

impl Vit {
    /// Height and width of the images that the positions are for.
    pub fn image(&self) -> [usize; 2] {
        [self.grid[0] * self.patch[0], self.grid[1] * self.patch[1]]
    }
}

/// What a number of attention heads was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadsFrom {
    /// The caller's [`crate::Options::heads`].
    Caller,
    /// A configuration beside the weights.
    Config,
    /// The heads that the published models of this layout and width have.
    Table,
}

/// Kinds of a block's MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mlp {
    /// `fc2(gelu(fc1(x)))`.
    Gelu,
    /// `fc2(silu(a) * b)` with a, b the first and second half of `fc1(x)`, timm's packed form: `fc1`
    /// has `2 mlp_hidden` rows, the gate's first (Shazeer 2020, arXiv 2002.05202).
    SwiGlu,
}

/// Position embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Trained.
    Learned,
    /// The table of 2-D sines and cosines whose first half of channels varies with the row (MoCo v3).
    SincosRowFirst,
    /// The table whose first half of channels varies with the column (MAE).
    SincosColumnFirst,
}

/// From the tokens of the last block to one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token.
    Class,
    /// The mean over the patches' tokens.
    Mean,
}

/// Where the final LayerNorm is, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalNorm {
    /// On all tokens, before they are pooled: `norm`.
    BeforePool,
    /// On the pooled feature: `fc_norm`. Tokens have no final LayerNorm then.
    AfterPool,
}

/// Pixels to tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchStem {
    /// One linear map of every patch, `patch_embed.proj`.
    Linear,
    /// 3x3 convolutions with stride 2, BatchNorm and ReLU, then a 1x1 convolution,
    /// `patch_embed.proj.N` (Xiao et al. 2021, arXiv 2106.14881).
    Conv,
}

/// How a table of positions is fitted to another grid. All are bicubic with a = -0.75 (torch's), or
/// -0.5 with antialiasing, corners not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// To the new size: scale is new over old (MoCo v3, MAE, Hugging Face's ViT).
    Bicubic,
    /// By a scale of (new + nudge) / old: DINO and DINOv2 have 0.1.
    BicubicNudged {
        /// Added to the new side.
        nudge: f64,
    },
    /// To the new size with a low-pass filter where the grid shrinks (timm; DINOv2's models with
    /// registers).
    BicubicAntialias,
}
