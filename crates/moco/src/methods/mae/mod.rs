//! MAE: He, Chen, Xie, Li, Dollár & Girshick 2022, "Masked Autoencoders Are Scalable Vision
//! Learners" (arXiv 2111.06377).
//!
//! Most patches of an image are hidden; an encoder sees the others, and a small decoder paints the
//! hidden ones. One view, no pairs, no negatives.
//!
//! As in the reference code: targets are the patches' pixels as the network is given them, each
//! patch with its own mean and unbiased variance taken out, and visible patches cost nothing.

mod spec;

pub use spec::{MaeConfig, MaeSpec};

use super::{Expectation, Method, Metric, Step, StepOutput};
use crate::batch::Batch;
use crate::loss::{hidden_error, l2_normalize};
use crate::models::mae::{
    DecoderConfig, MaskedAutoencoder, Masking, pixel_targets, pixels_of_targets,
};
use crate::models::vit::{patchify, unpatchify};
use crate::models::{Encode, NetworkSpec, Vit};
use crate::nn::{Mode, Module};
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;
use rand::RngExt;

/// State of MAE.
pub struct Mae {
    network: MaskedAutoencoder,
    config: MaeConfig,
    patch: usize,
    patches: usize,
    device: Device,
    peers: Peers,
}

crate::module!(Mae { network, peers });

impl Mae {
    /// Everything is a function of the network's seed.
    ///
    /// # Panics
    /// If the backbone is no vision transformer, and as [`MaskedAutoencoder::new`]. A plan has been checked.
    pub fn new(config: &MaeConfig, network: &NetworkSpec, device: &Device) -> Self {
        let vit = network.vit().expect("a vision transformer");
        let MaeConfig { decoder_width, decoder_depth, decoder_heads, .. } = *config;
        let decoder =
            DecoderConfig { width: decoder_width, depth: decoder_depth, heads: decoder_heads };
        let on_graph = device.clone().autodiff();
        let net = MaskedAutoencoder::new(vit, &decoder, &mut network.weights(0), &on_graph);
        Self {
            network: net,
            config: config.clone(),
            patch: vit.patch,
            patches: vit.grid().into_iter().product(),
            device: device.clone(),
            peers: Peers::SOLO,
        }
    }

    /// The encoder alone.
    ///
    /// # Panics
    /// As [`Mae::new`].
    pub fn new_encoder(network: &NetworkSpec, device: &Device) -> Vit {
        let vit = network.vit().expect("a vision transformer");
        Vit::new(vit, &mut network.weights(0), device)
    }

    /// The loss under a given masking.
    pub fn loss_with(&mut self, x: &Tensor<4>, masking: &Masking) -> StepOutput {
        let latent = self.network.encoder.forward_visible(x.clone(), masking, Mode::Train);
        let predicted = self.network.decoder.forward(latent.clone(), masking); // [N, L, p p 3]
        let target = pixel_targets(x.clone(), self.patch, self.config.norm_pixels);

        // Sec. 3, "Reconstruction target": mean squared error, on hidden patches only.
        let loss = hidden_error(predicted, target, masking.hidden(&self.device));

        let [n, tokens, width] = latent.dims();
        let mean = latent.without_autodiff().sum_dim(1).reshape([n, width]) / tokens as f64;
        StepOutput { loss, metrics: vec![("feature_std", Metric::std(l2_normalize(mean)))] }
    }

    /// What the network paints on hidden patches, to look at: the images with the painting on every
    /// hidden patch and as they are elsewhere, in evaluation mode. Where patches are normalised by
    /// their own mean and deviation, the painting is given those of the patch.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to the same, in the views' units.
    pub fn paint(&mut self, x: Tensor<4>, masking: &Masking) -> Tensor<4> {
        let painted = self.network.forward(x.clone(), masking, Mode::Eval).without_autodiff();
        let [_, height, width, _] = x.dims();
        let pixels = patchify(x, self.patch); // [N, L, p p 3]
        let painted = match self.config.norm_pixels {
            false => painted,
            true => pixels_of_targets(painted, pixels.clone()),
        };
        let [n, l, _] = pixels.dims();
        let hidden = masking.hidden(&self.device).reshape([n, l, 1]);
        let shown = pixels.clone() + (painted - pixels) * hidden;
        unpatchify(shown, [height / self.patch, width / self.patch], self.patch)
    }

    /// The masking that training would draw for `images` images from a stream of its own.
    pub fn masking(&self, images: usize, seed: u64) -> Masking {
        let mut rng = rng::stream(seed, Purpose::Mask, u64::MAX);
        Masking::random(images, self.patches, self.config.mask_ratio, &mut rng)
    }
}

impl Method for Mae {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        let mut rng = rng::stream(step.seed, Purpose::Mask, step.index as u64);
        let n = batch.indices.len();
        // A part, and a rank's share of it, hides what it would hide within the whole batch.
        let all = n * self.peers.size();
        for _ in 0..step.part * all * self.patches {
            rng.random::<f32>();
        }
        let draws = std::iter::repeat_with(|| rng.random());
        let noise: Vec<f32> = draws.take(all * self.patches).collect();
        let own = self.peers.share(all).map(|row| &noise[row * self.patches..][..self.patches]);
        let noise = own.collect::<Vec<_>>().concat();
        let masking = Masking::from_noise(&noise, self.patches, self.config.mask_ratio);
        self.loss_with(batch.single(), &masking)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.network
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.network.encoder
    }

    fn expectation(&self) -> Expectation {
        let values = (3 * self.patch * self.patch) as f64;
        // Unbiased variance 1 is a mean square of (n - 1) / n around the mean.
        let chance = if self.config.norm_pixels { (values - 1.0) / values } else { 1.0 };
        Expectation {
            chance,
            collapse: None,
            mend: "lower optim.lr, or lengthen optim.warmup_epochs",
            dim: self.network.encoder.features(),
            advice: format!(
                "A network that paints every patch in its mean colour has a loss of {chance:.2}. \
                 Watch a linear probe rather than kNN: MAE's features separate classes late."
            ),
            parts_differ: None,
        }
    }
}
