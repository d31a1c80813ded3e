//! Masked autoencoders: He et al. 2021 (arXiv 2111.06377).
//!
//! The encoder is a [`Vit`] that sees the visible patches only; a small decoder fills in the others.
//! The loss is no business of this module, but [`pixel_targets`] is what it compares with.

mod decoder;
mod masking;

pub use decoder::{Decoder, DecoderConfig};
pub use masking::{Masking, kept_patches};

use super::vit::{Vit, VitConfig, patchify};
use crate::nn::Mode;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Added to the variance of a patch's pixels.
const EPSILON: f64 = 1e-6;

/// Encoder and decoder.
#[derive(Debug)]
pub struct MaskedAutoencoder {
    /// The network that is kept.
    pub encoder: Vit,
    /// Used for training only.
    pub decoder: Decoder,
}

crate::module!(MaskedAutoencoder { encoder, decoder });

impl MaskedAutoencoder {
    /// Draws both from `rng`.
    ///
    /// # Panics
    /// As [`Vit::new`] and [`Decoder::new`].
    pub fn new(
        encoder: &VitConfig,
        decoder: &DecoderConfig,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        Self {
            encoder: Vit::new(encoder, rng, device),
            decoder: Decoder::new(decoder, encoder, rng, device),
        }
    }

    /// Predicts the pixels of every patch from the visible ones.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, L, p p 3]`, in the order of [`patchify`].
    ///
    /// # Panics
    /// If `masking` is not for N images of L patches, or the images do not have the encoder's size.
    pub fn forward(&mut self, images: Tensor<4>, masking: &Masking, mode: Mode) -> Tensor<3> {
        let latent = self.encoder.forward_visible(images, masking, mode);
        self.decoder.forward(latent, masking)
    }
}

impl Vit {
    /// All tokens, after the final LayerNorm, of a network that sees the visible patches only.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, T, D]`: the class token, if there is one, then K visible patches in
    /// the masking's order.
    ///
    /// # Panics
    /// As [`Vit::forward`], and if `masking` is not for N images of L patches.
    pub fn forward_visible(
        &mut self,
        images: Tensor<4>,
        masking: &Masking,
        mode: Mode,
    ) -> Tensor<3> {
        let patches = self.embed(images, mode);
        self.encode(masking.visible(patches), mode)
    }
}

/// What the decoder is to predict: the pixels of every patch, as they are or normalised by the
/// patch's own mean and unbiased variance (Sec. 3, "Reconstruction target").
///
/// # Shapes
/// `[N, H, W, C]` to `[N, L, p p C]`.
pub fn pixel_targets(images: Tensor<4>, patch: usize, normalised: bool) -> Tensor<3> {
    let pixels = patchify(images, patch);
    if !normalised {
        return pixels;
    }
    let (mean, deviation) = statistics(&pixels);
    (pixels - mean) / deviation
}

/// The pixels that normalised targets stand for in patches with the statistics of `pixels`: the
/// inverse of [`pixel_targets`], for pictures.
///
/// # Shapes
/// Both `[N, L, p p C]`, and the result.
pub fn pixels_of_targets(targets: Tensor<3>, pixels: Tensor<3>) -> Tensor<3> {
    let (mean, deviation) = statistics(&pixels);
    targets * deviation + mean
}

/// Mean and unbiased standard deviation of each patch, `[N, L, 1]`.
fn statistics(pixels: &Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let count = pixels.dims()[2] as f64;
    let mean = pixels.clone().mean_dim(2);
    let variance = (pixels.clone() - mean.clone()).square().sum_dim(2) / (count - 1.0);
    (mean, (variance + EPSILON).sqrt())
}
