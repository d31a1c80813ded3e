//! The settings of each method.

use serde::{Deserialize, Serialize};

/// A method by name, with the settings that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum MethodConfig {
    /// Instance discrimination, Wu et al. 2018 (arXiv 1805.01978).
    #[serde(rename = "instdisc")]
    InstDisc(InstDiscConfig),
    /// Invariant and spreading instance features, Ye et al. 2019 (arXiv 1904.03436).
    #[serde(rename = "invaspread")]
    InvaSpread(InvaSpreadConfig),
    /// Contrastive predictive coding, van den Oord et al. 2018 (arXiv 1807.03748), and its second
    /// version, Hénaff et al. 2020 (arXiv 1905.09272).
    Cpc(CpcConfig),
    /// Contrastive multiview coding, Tian et al. 2020 (arXiv 1906.05849).
    Cmc(CmcConfig),
    /// Momentum Contrast, He et al. 2020 (arXiv 1911.05722).
    MocoV1(MocoConfig),
    /// Improved baselines with Momentum Contrast, Chen et al. 2020 (arXiv 2003.04297).
    MocoV2(MocoConfig),
    /// MoCo v3, Chen et al. 2021 (arXiv 2104.02057).
    MocoV3(MocoV3Config),
    /// SimCLR, Chen et al. 2020 (arXiv 2002.05709).
    #[serde(rename = "simclr")]
    SimClr(SimClrConfig),
    /// SimCLR v2, Chen et al. 2020 (arXiv 2006.10029): a deeper head.
    #[serde(rename = "simclr-v2")]
    SimClrV2(SimClrConfig),
    /// Bootstrap your own latent, Grill et al. 2020 (arXiv 2006.07733).
    Byol(ByolConfig),
    /// SimSiam, Chen & He 2021 (arXiv 2011.10566).
    #[serde(rename = "simsiam")]
    SimSiam(SimSiamConfig),
    /// Swapped assignments between views, Caron et al. 2020 (arXiv 2006.09882).
    #[serde(rename = "swav")]
    SwAv(SwAvConfig),
    /// Self-distillation with no labels, Caron et al. 2021 (arXiv 2104.14294).
    Dino(DinoConfig),
    /// Masked autoencoder, He et al. 2022 (arXiv 2111.06377).
    Mae(MaeConfig),
}

impl MethodConfig {
    /// The method's name, as in `--method`.
    pub fn name(&self) -> &'static str {
        match self {
            MethodConfig::InstDisc(_) => "instdisc",
            MethodConfig::InvaSpread(_) => "invaspread",
            MethodConfig::Cpc(_) => "cpc",
            MethodConfig::Cmc(_) => "cmc",
            MethodConfig::MocoV1(_) => "moco-v1",
            MethodConfig::MocoV2(_) => "moco-v2",
            MethodConfig::MocoV3(_) => "moco-v3",
            MethodConfig::SimClr(_) => "simclr",
            MethodConfig::SimClrV2(_) => "simclr-v2",
            MethodConfig::Byol(_) => "byol",
            MethodConfig::SimSiam(_) => "simsiam",
            MethodConfig::SwAv(_) => "swav",
            MethodConfig::Dino(_) => "dino",
            MethodConfig::Mae(_) => "mae",
        }
    }
}

/// How a sample is told from the rows of a memory bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BankLoss {
    /// Cross-entropy: over all rows in instance discrimination, over the sampled ones in CMC.
    Softmax,
    /// Cross-entropy over the sampled rows in instance discrimination, as the authors' later models
    /// have it.
    SampledSoftmax,
    /// Noise-contrastive estimation against sampled rows, with a constant fixed at the first batch.
    Nce,
}

/// Settings of instance discrimination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstDiscConfig {
    /// Width of the embedding, D.
    pub dim: usize,
    /// Softmax temperature, T, above 0.
    pub temperature: f64,
    /// Share of the old row that the bank keeps when an image is seen again, 0..=1.
    pub bank_momentum: f64,
    /// Softmax over all rows or over sampled ones, or noise-contrastive estimation.
    pub loss: BankLoss,
    /// Rows drawn per image by `sampled-softmax` and `nce`, m.
    pub negatives: usize,
    /// Weight of the paper's proximal term (Eq. 10), at least 0; the reference code has none.
    pub proximal: f64,
}

/// How the gradient of InvaSpread flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvaSpreadGradient {
    /// Into both vectors of every product, as in the paper.
    Both,
    /// Into the first only, as in the reference code.
    Row,
}

/// Settings of InvaSpread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvaSpreadConfig {
    /// Width of the embedding.
    pub dim: usize,
    /// Softmax temperature, above 0.
    pub temperature: f64,
    /// Which vectors of a product learn from it.
    pub gradient: InvaSpreadGradient,
    /// Weight of the negatives, `negM` in the reference code; 1 is the paper.
    pub negative_weight: f64,
}

/// What CPC's context network sees beyond the grid of patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextPadding {
    /// Zeros above and at the sides.
    #[default]
    Zeros,
    /// As lightning-bolts has it: a row of ones above, and zeros at the sides of the second
    /// convolution instead of the first.
    Bolts,
}

/// Settings of contrastive predictive coding. The grid of patches is in the view's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpcConfig {
    /// Width of the predicted vectors.
    pub dim: usize,
    /// Hidden width of the context network's residual blocks.
    pub context_width: usize,
    /// Residual blocks of the context network.
    pub context_blocks: usize,
    /// What the context network sees beyond the grid.
    #[serde(default)]
    pub context_padding: ContextPadding,
    /// Rows that are predicted ahead, at most.
    pub steps: usize,
    /// The first row predicted: 1 is the next, 2 the first that shares no pixel at 50 % overlap.
    pub first_offset: usize,
    /// Directions of prediction: 1 (down, v1) or 4 (v2).
    pub directions: usize,
    /// Factor on the predictions; 0.1 keeps early logits small.
    pub prediction_scale: f64,
}

/// Settings of contrastive multiview coding. The colour space is in the view's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmcConfig {
    /// Width of the embeddings.
    pub dim: usize,
    /// Softmax temperature, above 0.
    pub temperature: f64,
    /// Share of the old row that a bank keeps, 0..=1.
    pub bank_momentum: f64,
    /// Cross-entropy over the sampled rows or noise-contrastive estimation.
    pub loss: BankLoss,
    /// Rows drawn per image, K.
    pub negatives: usize,
}

/// Settings of MoCo v1 and v2; the two differ in their defaults only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MocoConfig {
    /// Keys in the queue, K. Any positive number at least as large as the batch.
    pub queue: usize,
    /// Momentum of the key encoder's moving average, m, in 0..=1.
    pub momentum: f64,
    /// Softmax temperature of the loss, T, above 0.
    pub temperature: f64,
    /// Width of the query and key vectors, D.
    pub dim: usize,
    /// Projection head: one linear layer (v1) or a two-layer MLP (v2).
    pub head: HeadKind,
    /// Also use each second view as query against the first as key, and add both losses.
    pub symmetric: bool,
    /// Permute the key batch before the key encoder, so that split BatchNorm groups of query and
    /// key hold different images (v1 Sec. 3.3, "Shuffling BN").
    pub shuffle_keys: bool,
    /// Leave keys of the query's own image out of the negatives.
    pub mask_own_keys: bool,
}

/// The projection head between backbone and loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// `Linear(features -> dim)` with bias.
    Linear,
    /// `Linear(features -> features)`, ReLU, `Linear(features -> dim)`, with biases.
    Mlp,
}

/// Settings of MoCo v3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MocoV3Config {
    /// Width of the compared vectors.
    pub dim: usize,
    /// Width of the hidden layers of projector and predictor.
    pub hidden: usize,
    /// Softmax temperature, above 0.
    pub temperature: f64,
    /// Momentum of the moving average at the start, in 0..=1.
    pub momentum: f64,
    /// Raise the momentum to 1 along a cosine.
    pub momentum_cosine: bool,
}

/// How SimCLR's loss is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Over all 2N views, as in the paper.
    Mean,
    /// Over the N images of each view, then added: twice the paper's, as in the reference code.
    Sum,
}

/// Settings of SimCLR v1 and v2; the two differ in their defaults only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimClrConfig {
    /// Width of the compared vectors.
    pub dim: usize,
    /// Layers of the projector: 2 in v1, 3 in v2.
    pub projector_layers: usize,
    /// Softmax temperature, above 0.
    pub temperature: f64,
    /// How the loss is averaged.
    pub reduction: Reduction,
    /// Keys of past batches that are further negatives, as in v2's paper; 0 for none, as in its code.
    pub memory: usize,
    /// Momentum of the moving average that makes those keys, 0..=1.
    pub momentum: f64,
}

/// Settings of BYOL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByolConfig {
    /// Width of the compared vectors.
    pub dim: usize,
    /// Width of the hidden layer of projector and predictor.
    pub hidden: usize,
    /// Momentum of the target's moving average at the start, in 0..=1.
    pub momentum: f64,
    /// Raise the momentum to 1 along a cosine, as published; off, it is the same throughout.
    #[serde(default = "as_published")]
    pub momentum_cosine: bool,
}

/// What a configuration that was written before the setting existed meant.
fn as_published() -> bool {
    true
}

/// Settings of SimSiam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimSiamConfig {
    /// Width of the compared vectors.
    pub dim: usize,
    /// Width of the predictor's hidden layer.
    pub hidden: usize,
    /// Width of the projector's hidden layers.
    pub projector_hidden: usize,
    /// Layers of the projector: 3, or 2 for CIFAR-10.
    pub projector_layers: usize,
    /// Keep the predictor's learning rate at its first value.
    pub fixed_predictor_lr: bool,
    /// The stop-gradient of Eq. 3; without it the network collapses.
    pub stop_gradient: bool,
}

/// Settings of SwAV.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwAvConfig {
    /// Width of the vectors that meet the prototypes.
    pub dim: usize,
    /// Width of the projector's hidden layer.
    pub hidden: usize,
    /// Prototypes, K.
    pub prototypes: usize,
    /// Softmax temperature, above 0.
    pub temperature: f64,
    /// Entropy weight of the Sinkhorn iterations, above 0.
    pub epsilon: f64,
    /// Sinkhorn iterations.
    pub sinkhorn_iterations: usize,
    /// Vectors kept from past batches for the assignment, per assigned view: at least a batch, or 0
    /// for none. The reference code rounds down to whole batches.
    pub queue: usize,
    /// Epoch from which the queue is filled, from 0.
    pub queue_from_epoch: usize,
    /// Steps for which the prototypes stay as they were drawn.
    pub freeze_prototypes_steps: usize,
}

/// Settings of DINO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DinoConfig {
    /// Outputs of the head, K.
    pub outputs: usize,
    /// Width of the head's hidden layers.
    pub hidden: usize,
    /// Width of the normalised bottleneck before the last layer.
    pub bottleneck: usize,
    /// BatchNorm in the head; the paper has it for convolutional networks at most.
    pub head_norm: bool,
    /// Keep the last layer's rows at unit length.
    pub norm_last_layer: bool,
    /// Temperature of the student, above 0.
    pub student_temperature: f64,
    /// Temperature of the teacher at the start, above 0.
    pub teacher_temperature_start: f64,
    /// Temperature of the teacher after its warm-up, above 0.
    pub teacher_temperature: f64,
    /// Epochs over which the teacher's temperature rises.
    pub teacher_temperature_epochs: usize,
    /// Momentum of the teacher at the start; it rises to 1 along a cosine.
    pub momentum: f64,
    /// Subtract the running mean of the teacher's outputs; without it the network collapses.
    pub center: bool,
    /// Momentum of the centre, 0..=1.
    pub center_momentum: f64,
    /// Epochs for which the last layer stays as it was drawn.
    pub freeze_last_layer_epochs: usize,
}

/// Settings of the masked autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaeConfig {
    /// Share of the patches that are hidden, 0..1.
    pub mask_ratio: f64,
    /// Reconstruct each patch with its own mean and variance taken out.
    pub norm_pixels: bool,
    /// Width of the decoder.
    pub decoder_width: usize,
    /// Blocks of the decoder.
    pub decoder_depth: usize,
    /// Attention heads of the decoder.
    pub decoder_heads: usize,
}

/// Visible patches of `patches` at a masking `ratio`: `floor(L (1 - ratio))`.
pub fn kept_patches(patches: usize, ratio: f64) -> usize {
    (patches as f64 * (1.0 - ratio)) as usize
}
