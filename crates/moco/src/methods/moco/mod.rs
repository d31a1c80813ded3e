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

mod spec;

pub use spec::{HeadKind, MocoConfig, MocoSpec};

use super::{Expectation, Method, Metric, Step, StepOutput};
use crate::batch::Batch;
use crate::loss::{Contrast, info_nce, info_nce_chance, l2_normalize};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use crate::nn::{Mode, Module, copy_tensors, gather};
use crate::parts::{KeyShuffle, Queue, ema, gather_images, own_rows};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use moco_peers::Peers;

/// State of MoCo v1 and v2.
pub struct Moco {
    query: Encoder,
    key: Encoder,
    queue: Queue,
    config: MocoConfig,
    /// BatchNorm groups of a global batch.
    groups: usize,
    device: Device,
    peers: Peers,
}

crate::module!(Moco { query, key, queue, peers });

impl Moco {
    /// Both encoders start equal; everything is a function of the network's seed.
    pub fn new(config: &MocoConfig, network: &NetworkSpec, device: &Device) -> Self {
        let mut query = Self::new_encoder(config, network, &device.clone().autodiff());
        // On the plain device no gradient can reach the key encoder.
        let mut key = Self::new_encoder(config, network, device);
        copy_tensors(&mut query, &mut key);
        let queue = Queue::new(config.queue, config.dim, network.seed, device);
        let (config, device) = (config.clone(), device.clone());
        let groups = network.bn_groups();
        Self { query, key, queue, config, groups, device, peers: Peers::SOLO }
    }

    /// An encoder with the configured head, without BatchNorm and with biases throughout.
    pub fn new_encoder(config: &MocoConfig, network: &NetworkSpec, device: &Device) -> Encoder {
        let head = |features| match config.head {
            HeadKind::Linear => MlpSpec::linear(config.dim),
            HeadKind::Mlp => MlpSpec::plain(vec![features], config.dim),
        };
        Encoder::new(network, head, device)
    }

    /// Alg. 1, from the forward passes to the loss, for one direction.
    fn contrast(
        &mut self,
        x_q: &Tensor<4>,
        x_k: &Tensor<4>,
        shuffle: &KeyShuffle,
        excluded: Option<Tensor<2, Bool>>,
    ) -> Direction {
        let q = l2_normalize(self.query.forward(x_q.clone(), Mode::Train)); // [N, D]
        let [k, all_keys] = self.keys(x_k.clone(), shuffle); // [N, D], no gradient
        let (queue, t) = (self.queue.keys(), self.config.temperature);
        let contrast = info_nce(q.clone(), k, queue, excluded, t);
        Direction { contrast, q, all_keys }
    }

    /// The given entries of `[N, K]`, if they are to be left out.
    fn excluded(&self, own: &[(usize, usize)], n: usize) -> Option<Tensor<2, Bool>> {
        if !self.config.mask_own_keys || own.is_empty() {
            return None;
        }
        let k = self.config.queue;
        let mut mask = vec![false; n * k];
        own.iter().for_each(|(i, row)| mask[i * k + row] = true);
        Some(Tensor::from_data(TensorData::new(mask, [n, k]), &self.device))
    }

    /// This rank's keys, and those of all ranks, which are the same for one rank: with train-mode
    /// BatchNorm, shuffled on the way in and back on the way out (Sec. 3.3).
    fn keys(&mut self, x_k: Tensor<4>, shuffle: &KeyShuffle) -> [Tensor<2>; 2] {
        let peers = self.peers;
        // What one group for all ranks holds is the same in any order, and images are dear to send.
        let shuffled = self.config.shuffle_keys && (peers.alone() || self.groups > 1);
        if !shuffled {
            let k = l2_normalize(self.key.forward(x_k, Mode::Train));
            return [k.clone(), gather(k, peers, "keys")];
        }
        let k = self.key.forward(shuffle.exchange(x_k, peers), Mode::Train);
        let all = l2_normalize(shuffle.undo(gather(k, peers, "keys")));
        [own_rows(all.clone(), peers), all]
    }

    /// The loss for given permutations of the keys of the global batch, one per direction.
    pub fn loss_with(
        &mut self,
        batch: &Batch,
        step: &Step,
        shuffles: &[KeyShuffle; 2],
    ) -> StepOutput {
        let [x1, x2] = batch.pair();

        if step.is_first_part() {
            // Eq. 2, with the query weights of this step, before their update.
            ema::update(&mut self.key, &mut self.query, self.config.momentum);
        }

        let n = batch.indices.len();
        let own = self.queue.own_keys(&batch.indices);
        let own_keys = Tensor::from_data([own.len() as f32 / n as f32], &self.device);
        let excluded = self.excluded(&own, n);
        let forth = self.contrast(x1, x2, &shuffles[0], excluded.clone());
        let (loss, keys) = if self.config.symmetric {
            // As in the reference demo: the losses are added, and both sets of keys are enqueued
            // after both losses, so that no image meets its own key in the queue.
            let back = self.contrast(x2, x1, &shuffles[1], excluded);
            (
                forth.contrast.loss + back.contrast.loss,
                Tensor::cat(vec![back.all_keys, forth.all_keys], 0),
            )
        } else {
            (forth.contrast.loss, forth.all_keys)
        };
        let images = gather_images(&batch.indices, self.peers);
        let images = images.into_iter().cycle().take(keys.dims()[0]).collect();
        self.queue.hold(keys, images);
        StepOutput {
            loss,
            metrics: vec![
                ("accuracy", Metric::Mean(forth.contrast.accuracy)),
                ("feature_std", Metric::std(forth.q)),
                ("own_keys", Metric::Mean(own_keys)),
            ],
        }
    }
}

/// One direction of the comparison: queries of one view against keys of the other.
struct Direction {
    contrast: Contrast,
    q: Tensor<2>,
    all_keys: Tensor<2>,
}

impl Method for Moco {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        let n = batch.indices.len() * self.peers.size();
        let shuffles = [0, 1].map(|direction| {
            let position = 2 * step.index as u64 + direction + ((step.part as u64) << 40);
            KeyShuffle::draw(n, step.seed, position, &self.device)
        });
        self.loss_with(batch, step, &shuffles)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.query
    }

    fn after_update(&mut self, _: &Step) {
        self.queue.enqueue_held();
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.query
    }

    fn expectation(&self) -> Expectation {
        let MocoConfig { queue, dim, temperature, symmetric, .. } = self.config;
        let directions = if symmetric { 2.0 } else { 1.0 };
        let chance = directions * info_nce_chance(queue, dim, temperature);
        Expectation {
            chance,
            collapse: Some(directions * ((queue + 1) as f64).ln()),
            mend: "raise method.momentum towards 0.999, or lower optim.lr",
            dim,
            parts_differ: None,
            advice: format!(
                "The loss of unrelated vectors would be {chance:.2}. It starts far below that and \
                 rises during the first epoch: the queue is filled with random vectors, which are \
                 easy to tell from real keys, and real keys replace them. Watch kNN, not the loss."
            ),
        }
    }
}
