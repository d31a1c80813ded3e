//! InvaSpread: Ye, Zhang, Yuen & Chang 2019, "Unsupervised Embedding Learning via Invariant and
//! Spreading Instance Feature" (arXiv 1904.03436).
//!
//! The features themselves, instead of a memory of them: two views of an image should be alike,
//! and unlike all others of the batch. No state but the network.
//!
//! Both gradients are here: the paper's, into both vectors of a product, and the reference code's,
//! which detaches the second. The sum over negatives leaves the positive out, where the reference
//! subtracts it afterwards and gets no number when it is certain.

mod spec;

pub use spec::{InvaSpreadConfig, InvaSpreadGradient, InvaSpreadSpec};

use super::{Compare, Expectation, Method, Metric, Step, StepOutput, compared_at_once, outputs};
use crate::batch::Batch;
use crate::loss::{Contrast, invaspread_among, invaspread_collapse, l2_normalize};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use crate::nn::{Mode, Module, gather};
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;

/// State of InvaSpread.
pub struct InvaSpread {
    encoder: Encoder,
    config: InvaSpreadConfig,
    /// Images that are compared with one another.
    batch: usize,
    peers: Peers,
}

crate::module!(InvaSpread { encoder, peers });

impl InvaSpread {
    /// For `batch` images at a time; everything is a function of the network's seed.
    pub fn new(
        config: &InvaSpreadConfig,
        network: &NetworkSpec,
        batch: usize,
        device: &Device,
    ) -> Self {
        let encoder = Self::new_encoder(config, network, &device.clone().autodiff());
        Self { encoder, config: config.clone(), batch, peers: Peers::SOLO }
    }

    /// An encoder with one linear layer as its head.
    pub fn new_encoder(
        config: &InvaSpreadConfig,
        network: &NetworkSpec,
        device: &Device,
    ) -> Encoder {
        Encoder::new(network, |_| MlpSpec::linear(config.dim), device)
    }
}

impl Compare for InvaSpread {
    fn embed(&mut self, batch: &Batch) -> Vec<Tensor<2>> {
        let x = Tensor::cat(batch.pair().map(Tensor::clone).to_vec(), 0); // [2N, H, W, 3]
        self.encoder.forward(x, Mode::Train).chunk(2, 0) // twice [N, D]
    }

    fn compare(
        &mut self,
        _: &[usize],
        embeddings: Vec<Tensor<2>>,
        _: Vec<Tensor<2>>,
    ) -> StepOutput {
        let InvaSpreadConfig { temperature, gradient, negative_weight, .. } = self.config;
        let [z1, z2] = outputs(embeddings);
        let z = l2_normalize(Tensor::cat(vec![z1, z2], 0)); // [2N, D]
        let row_gradient = gradient == InvaSpreadGradient::Row;
        let all = gather(z.clone(), self.peers, "embeddings"); // [2N, D], of all ranks
        let Contrast { loss, accuracy } = invaspread_among(
            z.clone(),
            all,
            temperature,
            row_gradient,
            negative_weight,
            self.peers,
        ); // Eqs. 2-5
        StepOutput {
            loss,
            metrics: vec![("accuracy", Metric::Mean(accuracy)), ("feature_std", Metric::std(z))],
        }
    }
}

impl Method for InvaSpread {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        compared_at_once(self, batch, step)
    }

    fn as_compare(&mut self) -> Option<&mut dyn Compare> {
        Some(self)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.encoder
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.encoder
    }

    fn expectation(&self) -> Expectation {
        let InvaSpreadConfig { dim, temperature, negative_weight, .. } = self.config;
        let collapse = invaspread_collapse(self.batch, negative_weight);
        // Unrelated unit vectors: the sum in the denominator is exp(1/(2 D T²)) times as large.
        let chance = collapse + 1.0 / (2.0 * dim as f64 * temperature * temperature);
        Expectation {
            chance,
            collapse: Some(collapse),
            mend: "lower optim.lr, or raise train.batch_size",
            dim,
            parts_differ: Some("an image is compared with the others of its part only"),
            advice: format!(
                "The loss starts near {chance:.2} and falls towards 0; how far depends on \
                 train.batch_size = {}.",
                self.batch
            ),
        }
    }
}
