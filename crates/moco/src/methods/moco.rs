//! Momentum Contrast, v1 and v2.
//!
//! v1: He, Fan, Wu, Xie & Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation
//! Learning" (arXiv 1911.05722). v2: Chen, Fan, Girshick & He 2020, "Improved Baselines with
//! Momentum Contrastive Learning" (arXiv 2003.04297), which adds the MLP head and stronger
//! augmentation and changes nothing in this file.
//!
//! Contrastive learning as dictionary look-up: the query `q` of a view should match the key `k` of
//! the other view of the same image, among all keys in the queue. The queue makes the dictionary
//! large; the moving average keeps its keys consistent.
//!
//! Follows the reference code where the paper is silent: the average is taken before the keys are
//! computed, the loss sees the queue without this batch's keys, and every parameter decays.

use super::{Expectation, Method, Step, StepOutput};
use crate::batch::Batch;
use crate::config::{MocoConfig, ModelConfig};
use crate::loss::{Contrast, channel_std, info_nce, info_nce_chance, l2_normalize};
use crate::models::Encoder;
use crate::nn::{Mode, Module, copy_tensors};
use crate::parts::{KeyShuffle, Queue, ema};
use burn::tensor::{Device, Tensor};

/// State of MoCo v1 and v2.
pub struct Moco {
    query: Encoder,
    key: Encoder,
    queue: Queue,
    config: MocoConfig,
    device: Device,
    /// Keys of the current batch, between the loss and [`Method::after_update`].
    fresh_keys: Option<Tensor<2>>,
}

crate::module!(Moco { query, key, queue });

impl Moco {
    /// Both encoders start equal; everything is a function of `seed`.
    pub fn new(config: &MocoConfig, model: &ModelConfig, seed: u64, device: &Device) -> Self {
        let encoder = |device: &Device| Encoder::new(model, config.head, config.dim, seed, device);
        let mut query = encoder(&device.clone().autodiff());
        // On the plain device no gradient can reach the key encoder.
        let mut key = encoder(device);
        copy_tensors(&mut query, &mut key);
        let queue = Queue::new(config.queue, config.dim, seed, device);
        Self { query, key, queue, config: config.clone(), device: device.clone(), fresh_keys: None }
    }

    /// Alg. 1, from the forward passes to the loss, for one direction.
    fn contrast(&mut self, x_q: &Tensor<4>, x_k: &Tensor<4>, shuffle: &KeyShuffle) -> Direction {
        let q = l2_normalize(self.query.forward(x_q.clone(), Mode::Train)); // [N, D]
        let k = l2_normalize(self.keys(x_k.clone(), shuffle)); // [N, D], no gradient
        let contrast = info_nce(q.clone(), k.clone(), self.queue.keys(), self.config.temperature);
        Direction { contrast, q, k }
    }

    /// Keys with train-mode BatchNorm, shuffled on the way in and back on the way out (Sec. 3.3).
    fn keys(&mut self, x_k: Tensor<4>, shuffle: &KeyShuffle) -> Tensor<2> {
        if !self.config.shuffle_keys {
            return self.key.forward(x_k, Mode::Train);
        }
        let k = self.key.forward(shuffle.apply(x_k), Mode::Train);
        shuffle.undo(k)
    }

    /// The loss for given key permutations, one per direction.
    pub fn loss_with(&mut self, batch: &Batch, shuffles: &[KeyShuffle; 2]) -> StepOutput {
        let [x1, x2] = batch.pair();

        // Eq. 2, with the query weights of this step, before their update.
        ema::update(&mut self.key, &mut self.query, self.config.momentum);

        let forth = self.contrast(x1, x2, &shuffles[0]);
        let (loss, keys) = if self.config.symmetric {
            // As in the reference demo: the losses are added, and both sets of keys are enqueued
            // after both losses, so that no image meets its own key in the queue.
            let back = self.contrast(x2, x1, &shuffles[1]);
            (forth.contrast.loss + back.contrast.loss, Tensor::cat(vec![back.k, forth.k], 0))
        } else {
            (forth.contrast.loss, forth.k)
        };
        self.fresh_keys = Some(keys);
        StepOutput {
            loss,
            metrics: vec![
                ("accuracy", forth.contrast.accuracy),
                ("feature_std", channel_std(forth.q)),
            ],
        }
    }
}

/// One direction of the comparison: queries of one view against keys of the other.
struct Direction {
    contrast: Contrast,
    q: Tensor<2>,
    k: Tensor<2>,
}

impl Method for Moco {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        let n = batch.indices.len();
        let shuffles = [0, 1].map(|direction| {
            let position = 2 * step.index as u64 + direction;
            KeyShuffle::draw(n, step.seed, position, &self.device)
        });
        self.loss_with(batch, &shuffles)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.query
    }

    fn after_update(&mut self, _: &Step) {
        if let Some(keys) = self.fresh_keys.take() {
            self.queue.enqueue(keys);
        }
    }

    fn encoder(&mut self) -> &mut Encoder {
        &mut self.query
    }

    fn expectation(&self) -> Expectation {
        let MocoConfig { queue, dim, temperature, symmetric, .. } = self.config;
        let directions = if symmetric { 2.0 } else { 1.0 };
        let chance = directions * info_nce_chance(queue, dim, temperature);
        Expectation {
            chance,
            dim,
            advice: format!(
                "The loss of unrelated vectors would be {chance:.2}. It starts far below that and \
                 rises during the first epoch: the queue is filled with random vectors, which are \
                 easy to tell from real keys, and real keys replace them. Watch kNN, not the loss."
            ),
        }
    }
}
