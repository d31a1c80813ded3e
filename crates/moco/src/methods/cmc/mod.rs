//! CMC: Tian, Krishnan & Isola 2020, "Contrastive Multiview Coding" (arXiv 1906.05849).
//!
//! The views are the luminance of an image and its colour (L and ab, or Y and CbCr), each with an
//! encoder of its own: what both know of an image is what matters in it. As in instance
//! discrimination there is a memory bank, one for each view.
//!
//! Follows the reference code: each view is scored against the bank of the *other*, with the same
//! sampled rows, and the two losses are added.

mod spec;

pub use spec::{CmcConfig, CmcSpec};

use super::{BankLoss, Expectation, Method, Metric, Step, StepOutput};
use crate::batch::Batch;
use crate::loss::{
    Contrast, bank_scores, info_nce_chance, l2_normalize, nce, nce_chance, softmax_over_samples,
};
use crate::models::{Encode, MlpSpec, NetworkSpec, SplitEncoder};
use crate::nn::{Mode, Module};
use crate::parts::{Bank, Partition};
use burn::tensor::{Device, Int, Tensor};

/// State of CMC: of either view, luminance first, a bank and Z.
pub struct Cmc {
    encoder: SplitEncoder,
    banks: Vec<Bank>,
    /// Z of noise-contrastive estimation; none for the softmax.
    partitions: Vec<Partition>,
    config: CmcConfig,
    images: usize,
}

crate::module!(Cmc { encoder, banks, partitions });

impl Cmc {
    /// For a data set of `images` images; everything is a function of the network's seed.
    pub fn new(config: &CmcConfig, network: &NetworkSpec, images: usize, device: &Device) -> Self {
        let shape = [images, config.dim];
        let bank = |view| Bank::new(shape, config.bank_momentum, network.seed, view, device);
        let partitions = if config.loss == BankLoss::Nce { 2 } else { 0 };
        Self {
            encoder: Self::new_encoder(config, network, &device.clone().autodiff()),
            banks: (0..2).map(bank).collect(),
            partitions: (0..partitions).map(|_| Partition::new(device)).collect(),
            config: config.clone(),
            images,
        }
    }

    /// Two encoders, each with one linear layer as its head.
    pub fn new_encoder(config: &CmcConfig, network: &NetworkSpec, device: &Device) -> SplitEncoder {
        SplitEncoder::new(network, &MlpSpec::linear(config.dim), device)
    }

    /// The loss for given rows of the banks, as [`Bank::sample`] draws them.
    pub fn loss_with(&mut self, batch: &Batch, samples: Tensor<2, Int>) -> StepOutput {
        let x = batch.single().clone();
        let [v_l, v_ab] = self.encoder.forward(x, Mode::Train).map(l2_normalize); // [N, D]
        // Sec. 3.2, Eq. 4: the anchor of one view, all others of the other view.
        let l = self.contrast(0, v_l.clone(), self.banks[1].rows(), samples.clone());
        let ab = self.contrast(1, v_ab.clone(), self.banks[0].rows(), samples);
        self.banks[0].collect(&batch.indices, v_l.clone());
        self.banks[1].collect(&batch.indices, v_ab.clone());
        StepOutput {
            loss: l.loss + ab.loss, // Eq. 5
            metrics: vec![
                ("accuracy", Metric::Mean(l.accuracy)),
                ("accuracy_color", Metric::Mean(ab.accuracy)),
                ("feature_std", Metric::std(v_l)),
                ("feature_std_color", Metric::std(v_ab)),
            ],
        }
    }

    fn contrast(
        &mut self,
        view: usize,
        v: Tensor<2>,
        memory: Tensor<2>,
        samples: Tensor<2, Int>,
    ) -> Contrast {
        let t = self.config.temperature;
        let scores = bank_scores(v, memory, samples); // [N, 1 + K]
        match self.partitions.get_mut(view) {
            None => softmax_over_samples(scores, t),
            Some(partition) => {
                let z = partition.z(&scores, t, self.images);
                nce(scores, z, t, self.images)
            }
        }
    }
}

impl Method for Cmc {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        let k = self.config.negatives;
        let samples = self.banks[0].sample(&batch.indices, k, step.seed, step.index);
        self.loss_with(batch, samples)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.encoder
    }

    fn after_update(&mut self, _: &Step) {
        self.banks.iter_mut().for_each(Bank::update);
    }

    /// Both banks side by side, as the outputs of both heads are.
    fn memory(&self) -> Option<Tensor<2>> {
        Some(Tensor::cat(self.banks.iter().map(Bank::rows).collect(), 1))
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.encoder
    }

    fn expectation(&self) -> Expectation {
        let CmcConfig { dim, temperature, negatives, loss, .. } = self.config;
        let (chance, collapse, parts_differ) = match loss {
            BankLoss::Softmax | BankLoss::SampledSoftmax => (
                2.0 * info_nce_chance(negatives, dim, temperature),
                Some(2.0 * ((negatives + 1) as f64).ln()),
                None,
            ),
            BankLoss::Nce => (
                2.0 * nce_chance(negatives, dim, temperature),
                None,
                Some("the constants Z are estimated from the first part of the first batch"),
            ),
        };
        Expectation {
            chance,
            collapse,
            mend: "lower optim.lr, or raise method.temperature",
            dim,
            parts_differ,
            advice: format!(
                "The loss of unrelated vectors would be {chance:.2}, of both views together. During \
                 the first epoch it says little: rows that were written resemble the features of \
                 any image, while an image's own row is still random. Judge it from the second on."
            ),
        }
    }
}
