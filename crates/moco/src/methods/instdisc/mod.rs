//! Instance discrimination: Wu, Xiong, Yu & Lin 2018, "Unsupervised Feature Learning via
//! Non-Parametric Instance Discrimination" (arXiv 1805.01978).
//!
//! Every image is a class of its own. What the network last made of it is its class vector, kept
//! in a memory bank, so that one view of each image is enough and there is no second network.
//!
//! Follows the reference code where it differs from the paper: the bank starts unnormalised, its
//! rows move by half, sampled negatives may be the image's own row, a softmax may be over sampled rows
//! alone, and the paper's proximal term is
//! there when asked for only.

mod spec;

pub use spec::{InstDiscConfig, InstDiscSpec};

use super::{BankLoss, Expectation, Method, Metric, Step, StepOutput};
use crate::batch::Batch;
use crate::loss::{
    Contrast, bank_scores, info_nce_chance, l2_normalize, nce, nce_chance, proximal,
    softmax_over_bank, softmax_over_samples,
};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use crate::nn::{Mode, Module};
use crate::parts::{Bank, Partition};
use burn::tensor::{Device, Int, Tensor};

/// State of instance discrimination.
pub struct InstDisc {
    encoder: Encoder,
    bank: Bank,
    /// Z of noise-contrastive estimation.
    partition: Option<Partition>,
    config: InstDiscConfig,
    images: usize,
}

crate::module!(InstDisc { encoder, bank, partition });

impl InstDisc {
    /// For a data set of `images` images; everything is a function of the network's seed.
    pub fn new(
        config: &InstDiscConfig,
        network: &NetworkSpec,
        images: usize,
        device: &Device,
    ) -> Self {
        let shape = [images, config.dim];
        Self {
            encoder: Self::new_encoder(config, network, &device.clone().autodiff()),
            bank: Bank::new(shape, config.bank_momentum, network.seed, 0, device),
            partition: (config.loss == BankLoss::Nce).then(|| Partition::new(device)),
            config: config.clone(),
            images,
        }
    }

    /// An encoder with one linear layer as its head.
    pub fn new_encoder(config: &InstDiscConfig, network: &NetworkSpec, device: &Device) -> Encoder {
        Encoder::new(network, |_| MlpSpec::linear(config.dim), device)
    }

    /// The loss for given samples, as [`Bank::sample`] draws them; a softmax over all rows asks for none.
    pub fn loss_with(
        &mut self,
        batch: &Batch,
        samples: impl FnOnce(&Bank) -> Tensor<2, Int>,
    ) -> StepOutput {
        let v = l2_normalize(self.encoder.forward(batch.single().clone(), Mode::Train)); // [N, D]
        let (rows, t) = (self.bank.rows(), self.config.temperature);
        let Contrast { mut loss, accuracy } = match &mut self.partition {
            None if self.config.loss == BankLoss::SampledSoftmax => {
                let scores = bank_scores(v.clone(), rows.clone(), samples(&self.bank)); // [N, 1 + m]
                softmax_over_samples(scores, t)
            }
            None => softmax_over_bank(v.clone(), rows.clone(), &batch.indices, t), // Eq. 2
            Some(partition) => {
                let scores = bank_scores(v.clone(), rows.clone(), samples(&self.bank)); // [N, 1 + m]
                let z = partition.z(&scores, t, self.images); // Eq. 6
                nce(scores, z, t, self.images) // Eq. 7
            }
        };
        if self.config.proximal > 0.0 {
            loss = loss + proximal(v.clone(), rows, &batch.indices) * self.config.proximal; // Eq. 10
        }
        self.bank.collect(&batch.indices, v.clone());
        StepOutput {
            loss,
            metrics: vec![("accuracy", Metric::Mean(accuracy)), ("feature_std", Metric::std(v))],
        }
    }
}

impl Method for InstDisc {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        let m = self.config.negatives;
        self.loss_with(batch, |bank| bank.sample(&batch.indices, m, step.seed, step.index))
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.encoder
    }

    fn after_update(&mut self, _: &Step) {
        self.bank.update();
    }

    fn memory(&self) -> Option<Tensor<2>> {
        Some(self.bank.rows())
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.encoder
    }

    fn expectation(&self) -> Expectation {
        let InstDiscConfig { dim, temperature, negatives, loss, proximal, .. } = self.config;
        let (chance, collapse, parts_differ) = match loss {
            BankLoss::Softmax => {
                let rivals = self.images - 1;
                let chance = info_nce_chance(rivals, dim, temperature);
                (chance, Some((self.images as f64).ln()), None)
            }
            BankLoss::SampledSoftmax => {
                let chance = info_nce_chance(negatives, dim, temperature);
                (chance, Some(((negatives + 1) as f64).ln()), None)
            }
            // Z stays that of spread features, so equal ones all look real: no level to name.
            BankLoss::Nce => (
                nce_chance(negatives, dim, temperature),
                None,
                Some("the constant Z is estimated from the first part of the first batch"),
            ),
        };
        // Unrelated unit vectors are a squared distance of 2 apart.
        let chance = chance + 2.0 * proximal;
        Expectation {
            chance,
            collapse,
            mend: "lower optim.lr, or raise method.temperature",
            dim,
            parts_differ,
            advice: format!(
                "The loss of unrelated vectors would be {chance:.2}. It rises above that during \
                 the first epoch: rows that were written resemble the features, while an image's \
                 own row is still random. It falls once each image meets its own row again."
            ),
        }
    }
}
