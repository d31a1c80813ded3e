//! SwAV: Caron, Misra, Mairal, Goyal, Bojanowski & Joulin 2020, "Unsupervised Learning of Visual
//! Features by Contrasting Cluster Assignments" (arXiv 2006.09882).
//!
//! Each view is assigned to prototypes, with all prototypes used alike over the batch; the
//! assignment of one view is to be predicted from every other view. Small crops only predict.
//!
//! As in the reference code: prototypes are scaled to unit length before each step; the queue of a
//! view is filled from a given epoch on and used once it is full, its scores before the batch's.

mod spec;

pub use spec::{SwAvConfig, SwAvSpec};

use super::{Expectation, Method, Metric, Step, StepOutput, Treatment};
use crate::batch::Batch;
use crate::loss::{cross_entropy_of_views, l2_normalize};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use crate::nn::{Mode, Module, gather};
use crate::parts::{Prototypes, RecentFeatures, own_rows, sinkhorn_among};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, s};
use moco_peers::Peers;

/// Views that are assigned; the others only predict.
const ASSIGNED: usize = 2;

/// State of SwAV.
pub struct SwAv {
    student: Student,
    /// One per assigned view.
    queues: Vec<RecentFeatures>,
    config: SwAvConfig,
    /// Features of the assigned views of the current step, part by part.
    fresh: [Vec<Tensor<2>>; ASSIGNED],
    peers: Peers,
}

/// What is trained.
struct Student {
    encoder: Encoder,
    prototypes: Prototypes,
}

crate::module!(Student { encoder, prototypes });
crate::module!(SwAv { student, queues, peers });

impl SwAv {
    /// Everything is a function of the network's seed.
    pub fn new(config: &SwAvConfig, network: &NetworkSpec, device: &Device) -> Self {
        let on_graph = device.clone().autodiff();
        let encoder = Self::new_encoder(config, network, &on_graph);
        let mut rng = network.weights(1);
        let prototypes = Prototypes::new(config.prototypes, config.dim, &mut rng, &on_graph);
        let queue = |_| RecentFeatures::new(config.queue, config.dim, device);
        Self {
            student: Student { encoder, prototypes },
            queues: (0..ASSIGNED).map(queue).collect(),
            config: config.clone(),
            fresh: Default::default(),
            peers: Peers::SOLO,
        }
    }

    /// Projector of two layers with biases, BatchNorm after the first.
    pub fn new_encoder(config: &SwAvConfig, network: &NetworkSpec, device: &Device) -> Encoder {
        let head = |_| MlpSpec {
            hidden_norm: true,
            bn_groups: network.bn_groups(),
            ..MlpSpec::plain(vec![config.hidden], config.dim)
        };
        Encoder::new(network, head, device)
    }

    /// The loss of `n` images: the assignment of a view, predicted from every other view. Keeps
    /// the assigned views' features for the queues.
    ///
    /// # Shapes
    /// `z` is `[V N, D]`, view after view, rows of unit length.
    pub fn loss_with(&mut self, z: Tensor<2>, n: usize) -> Tensor<1> {
        let scores = self.student.prototypes.scores(z.clone()); // z·c  [V N, K]
        let log_p = log_softmax(scores / self.config.temperature, 1); // log of Eq. 2's softmax
        let z = z.without_autodiff();
        let q: [_; ASSIGNED] = std::array::from_fn(|i| {
            let z_i = z.clone().slice(s![i * n..(i + 1) * n, ..]);
            self.fresh[i].push(z_i.clone());
            self.assign(i, z_i) // q_i  [N, K], no gradient
        });
        cross_entropy_of_views(&q, log_p) // Eqs. 1 and 2
    }

    /// Assignment of the `view`-th assigned view: its rows among those of the queue (Sec. 3.1).
    ///
    /// # Shapes
    /// `z` is `[N, D]`, rows of unit length, the result `[N, K]`; both outside autodiff.
    pub fn assign(&self, view: usize, z: Tensor<2>) -> Tensor<2> {
        let [n, _] = z.dims();
        let mut samples = n * self.peers.size();
        let z = match self.queues[view].full() {
            Some(queue) => {
                samples += queue.dims()[0];
                // Each rank scores its share of the queue. [L + N, D], the batch last
                Tensor::cat(vec![own_rows(queue, self.peers), z], 0)
            }
            None => z,
        };
        let scores = self.student.prototypes.scores_without_gradient(z);
        let SwAvConfig { epsilon, sinkhorn_iterations, .. } = self.config;
        let q = sinkhorn_among(scores, samples, epsilon, sinkhorn_iterations, self.peers);
        let [rows, _] = q.dims();
        q.slice(s![rows - n..rows, ..]) // [N, K]
    }
}

impl Method for SwAv {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        if step.is_first_part() {
            self.student.prototypes.normalize();
        }
        let n = batch.indices.len();
        let z = l2_normalize(self.student.encoder.forward_views(&batch.views, Mode::Train));
        let feature_std = Metric::std(z.clone().slice(s![0..n, ..]));
        StepOutput { loss: self.loss_with(z, n), metrics: vec![("feature_std", feature_std)] }
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.student
    }

    fn treatment(&self, step: &Step) -> Treatment {
        let rests = step.index < self.config.freeze_prototypes_steps;
        Treatment { frozen: if rests { &["prototypes"] } else { &[] }, ..Treatment::default() }
    }

    fn after_update(&mut self, step: &Step) {
        for (queue, fresh) in self.queues.iter_mut().zip(&mut self.fresh) {
            let fresh = std::mem::take(fresh);
            if self.config.queue > 0 && step.epoch() >= self.config.queue_from_epoch {
                queue.push(gather(Tensor::cat(fresh, 0), self.peers, "features for the queue"));
            }
        }
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.student.encoder
    }

    fn expectation(&self) -> Expectation {
        let chance = (self.config.prototypes as f64).ln();
        Expectation {
            chance,
            collapse: Some(chance),
            mend: "lower method.epsilon, for a narrow network to 0.005, raise \
                   method.freeze_prototypes_steps, or set method.queue",
            dim: self.config.dim,
            advice: format!(
                "A loss that stays at {chance:.2}, the logarithm of the number of prototypes, is \
                 that of assignments without information."
            ),
            parts_differ: Some("since prototypes are shared out within each part"),
        }
    }
}
