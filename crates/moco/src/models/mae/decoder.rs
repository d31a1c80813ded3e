//! The decoder: from visible tokens to the pixels of all patches.

use super::masking::Masking;
use crate::models::vit::{
    Block, BlockShape, PositionEmbedding, Positions, VitConfig, VitError, VitInit, tokens,
};
use crate::nn::{LayerNorm, Linear, Param};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Sizes of a [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Channels of a token; a multiple of 4.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads per block.
    pub heads: usize,
}

impl Default for DecoderConfig {
    /// He et al. 2021, Table 1, with the heads of their code.
    fn default() -> Self {
        Self { width: 512, depth: 8, heads: 16 }
    }
}

/// A narrow transformer over all patches, the hidden ones as copies of one learned token.
///
/// Names are those of the paper's code with `decoder.` for its `decoder_`; `mask_token` had none.
#[derive(Debug)]
pub struct Decoder {
    mask_token: Param<3>,
    pos_embed: PositionEmbedding,
    embed: Linear,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pred: Linear,
    grid: [usize; 2],
}

crate::module!(Decoder { mask_token, pos_embed, embed, blocks, norm, pred });

impl DecoderConfig {
    /// Whether a decoder of these sizes can be built for the tokens of an `encoder`.
    ///
    /// # Errors
    /// [`VitError`], as [`VitConfig::check`] of a network of the decoder's sizes, or if the encoder
    /// has no class token, or registers.
    pub fn check(&self, encoder: &VitConfig) -> Result<(), VitError> {
        self.transformer(encoder).check()?;
        if !encoder.class_token {
            return Err(VitError::NoClassToken { who: "a masked autoencoder" });
        }
        match encoder.registers {
            0 => Ok(()),
            _ => Err(VitError::Registers),
        }
    }

    /// The transformer that the decoder is.
    fn transformer(&self, encoder: &VitConfig) -> VitConfig {
        let DecoderConfig { width, depth, heads } = *self;
        VitConfig {
            positions: Positions::SincosColumnFirst,
            ..VitConfig::of_size([width, depth, heads], encoder.patch, encoder.image)
        }
    }
}

impl Decoder {
    /// Draws a decoder for the tokens of an `encoder` from `rng`.
    ///
    /// # Panics
    /// If [`DecoderConfig::check`] refuses the sizes. Those of a plan have been checked.
    pub fn new(
        config: &DecoderConfig,
        encoder: &VitConfig,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        if let Err(error) = config.check(encoder) {
            panic!("{error}");
        }
        let DecoderConfig { width, depth, .. } = *config;
        let sizes = config.transformer(encoder);
        let init = VitInit::Mae;
        let shape = BlockShape::of(&sizes);
        let pixels = encoder.patch * encoder.patch * 3;
        Self {
            mask_token: Param::new(tokens([1, 1, width], rng, device)),
            pos_embed: PositionEmbedding::new(&sizes, rng, device),
            embed: init.linear([encoder.width, width], rng, device),
            blocks: (0..depth).map(|_| Block::new(shape, init, rng, device)).collect(),
            norm: LayerNorm::new(width, device),
            pred: init.linear([width, pixels], rng, device),
            grid: sizes.grid(),
        }
    }

    /// # Shapes
    /// `[N, 1 + K, D]`, as [`crate::models::Vit::forward_visible`] gives it, to `[N, L, p p 3]`.
    ///
    /// # Panics
    /// If `masking` is not that of the encoder's pass, or not for the encoder's image size.
    pub fn forward(&self, latent: Tensor<3>, masking: &Masking) -> Tensor<3> {
        let x = self.embed.forward(latent);
        let [n, t, _] = x.dims();
        let hidden = self.mask_token.val().repeat(&[n, masking.patches() - masking.kept(), 1]);
        let position = self.pos_embed.class_token().expect("made with a class token");
        let class = x.clone().narrow(1, 0, 1) + position;
        let patches = Tensor::cat(vec![x.narrow(1, 1, t - 1), hidden], 1); // [N, L, width]
        let patches = masking.restore(patches) + self.pos_embed.patches(self.grid);
        let mut x = Tensor::cat(vec![class, patches], 1);
        for block in &self.blocks {
            x = block.forward(x, std::convert::identity);
        }
        let l = x.dims()[1] - 1;
        self.pred.forward(self.norm.forward(x.narrow(1, 1, l)))
    }
}
