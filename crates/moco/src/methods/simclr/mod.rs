//! SimCLR, v1 and v2.
//!
//! v1: Chen, Kornblith, Norouzi & Hinton 2020, "A Simple Framework for Contrastive Learning of
//! Visual Representations" (arXiv 2002.05709). v2: Chen, Kornblith, Swersky, Norouzi & Hinton 2020,
//! "Big Self-Supervised Models are Strong Semi-Supervised Learners" (arXiv 2006.10029), which has a
//! deeper projector, and a memory that this file has when asked for.
//!
//! Contrastive learning without any memory: the two views of an image should be close, among all
//! views of the batch. Batches are large, since they are all the negatives there are.
//!
//! Follows the reference code where the paper is silent: both views go through the network
//! together, so that BatchNorm sees all 2N of them, and the projector has BatchNorm at every layer,
//! the last without a shift. v2's memory is in its paper (Sec. 2), in one sentence, and not in its
//! code: the outputs of a moving average of the network are kept as further negatives. What the
//! sentence leaves open is as in MoCo: the average is taken before the keys are computed, and the
//! loss sees the memory without this batch's keys.

mod spec;

pub use spec::{Reduction, SimClrConfig, SimClrSpec};

use super::{Compare, Expectation, Method, Metric, Step, StepOutput, compared_at_once, outputs};
use crate::batch::Batch;
use crate::loss::{info_nce_chance, l2_normalize, nt_xent_among};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use crate::nn::{Affine, Mode, Module, copy_tensors, gather};
use crate::parts::{Queue, ema, gather_images};
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;

/// State of SimCLR v1 and v2.
pub struct SimClr {
    encoder: Encoder,
    memory: Option<Memory>,
    config: SimClrConfig,
    /// Images that are compared at a time.
    images: usize,
    peers: Peers,
}

crate::module!(SimClr { encoder, memory, peers });

/// What a slowly moving network made of past batches.
struct Memory {
    key: Encoder,
    queue: Queue,
}

crate::module!(Memory { key, queue });

impl SimClr {
    /// `images` are compared at a time, N: the batch, or a part of it if it is computed in parts.
    pub fn new(
        config: &SimClrConfig,
        network: &NetworkSpec,
        images: usize,
        device: &Device,
    ) -> Self {
        let mut encoder = Self::new_encoder(config, network, &device.clone().autodiff());
        let memory = (config.memory > 0).then(|| {
            let mut key = Self::new_encoder(config, network, device);
            copy_tensors(&mut encoder, &mut key);
            let queue = Queue::new(config.memory, config.dim, network.seed, device);
            Memory { key, queue }
        });
        Self { encoder, memory, config: config.clone(), images, peers: Peers::SOLO }
    }

    /// An encoder with the reference code's projector, whose hidden layers are as wide as the
    /// features.
    pub fn new_encoder(config: &SimClrConfig, network: &NetworkSpec, device: &Device) -> Encoder {
        let head = |features| MlpSpec {
            output_bias: false,
            output_norm: Some(Affine::Scale),
            bn_groups: network.bn_groups(),
            ..MlpSpec::normalized(vec![features; config.projector_layers - 1], config.dim)
        };
        Encoder::new(network, head, device)
    }

    /// The negatives of past batches, while this batch's keys, `[2N, D]`, are kept for later ones.
    fn remember(&mut self, keys: Vec<Tensor<2>>, images: &[usize]) -> Option<Tensor<2>> {
        let Memory { queue, .. } = self.memory.as_mut()?;
        let keys = gather(l2_normalize(Tensor::cat(keys, 0)), self.peers, "keys");
        queue.hold(keys, gather_images(&[images, images].concat(), self.peers));
        Some(queue.keys())
    }

    /// What the mean over the 2N views is multiplied by.
    fn scale(&self) -> f64 {
        match self.config.reduction {
            Reduction::Mean => 1.0,
            Reduction::Sum => 2.0,
        }
    }
}

/// Both views through a network together, so that BatchNorm sees all of them: twice `[N, D]`.
fn both_views(encoder: &mut Encoder, batch: &Batch) -> Vec<Tensor<2>> {
    let x = Tensor::cat(batch.pair().map(Tensor::clone).to_vec(), 0); // [2N, H, W, 3]
    encoder.forward(x, Mode::Train).chunk(2, 0)
}

/// Alg. 1.
impl Compare for SimClr {
    fn embed(&mut self, batch: &Batch) -> Vec<Tensor<2>> {
        both_views(&mut self.encoder, batch)
    }

    /// The keys of both views, if there is a memory.
    fn constants(&mut self, batch: &Batch, step: &Step) -> Vec<Tensor<2>> {
        let Some(Memory { key, .. }) = &mut self.memory else { return Vec::new() };
        if step.is_first_part() {
            ema::update(key, &mut self.encoder, self.config.momentum);
        }
        both_views(key, batch)
    }

    fn compare(
        &mut self,
        images: &[usize],
        embeddings: Vec<Tensor<2>>,
        keys: Vec<Tensor<2>>,
    ) -> StepOutput {
        let memory = self.remember(keys, images);
        let [z1, z2] = outputs(embeddings);
        let z = l2_normalize(Tensor::cat(vec![z1, z2], 0)); // [2N, D]
        let all = gather(z.clone(), self.peers, "embeddings"); // [2N, D], of all ranks
        let t = self.config.temperature;
        let contrast = nt_xent_among(z.clone(), all, memory, t, self.peers);
        StepOutput {
            loss: contrast.loss * self.scale(),
            metrics: vec![
                ("accuracy", Metric::Mean(contrast.accuracy)),
                ("feature_std", Metric::std(z)),
            ],
        }
    }
}

impl Method for SimClr {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        compared_at_once(self, batch, step)
    }

    fn as_compare(&mut self) -> Option<&mut dyn Compare> {
        Some(self)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.encoder
    }

    fn after_update(&mut self, _: &Step) {
        if let Some(memory) = &mut self.memory {
            memory.queue.enqueue_held();
        }
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.encoder
    }

    fn expectation(&self) -> Expectation {
        let SimClrConfig { dim, temperature, memory, .. } = self.config;
        let others = 2 * self.images - 1 + memory;
        let chance = self.scale() * info_nce_chance(others - 1, dim, temperature);
        Expectation {
            chance,
            collapse: Some(self.scale() * (others as f64).ln()),
            mend: "lower optim.lr, or lengthen optim.warmup_epochs",
            dim,
            parts_differ: Some("an image meets the other images of its part only, as negatives"),
            advice: format!(
                "The loss of unrelated vectors would be {chance:.2}, and it falls from there. A \
                 larger batch has more negatives and a higher loss, so compare losses at equal \
                 train.batch_size only."
            ),
        }
    }
}
