//! MoCo v3.
//!
//! Chen, Xie & He 2021, "An Empirical Study of Training Self-Supervised Vision Transformers"
//! (arXiv 2104.02057).
//!
//! Momentum Contrast without the queue: the negatives are the other keys of a large batch, both
//! views ask and answer, and a predictor follows the query encoder. For transformers the paper
//! leaves the patch projection as it was drawn (`model.freeze_patch`), which keeps training stable.
//!
//! Follows the reference code where the paper is silent: the average is taken before the keys are
//! computed, the heads have no bias, a BatchNorm at their end has neither scale nor shift, and the
//! heads of transformers differ from those of residual networks.

mod spec;

pub use spec::{MocoV3Config, MocoV3Spec};

use super::{Compare, Expectation, Method, Metric, Step, StepOutput, compared_at_once, outputs};
use crate::batch::Batch;
use crate::loss::{Contrast, info_nce_among, info_nce_chance, l2_normalize};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec, Online};
use crate::nn::{Affine, Mode, Module, copy_tensors, gather};
use crate::parts::ema;
use crate::schedule::cosine;
use burn::tensor::{Device, Tensor};
use moco_peers::Peers;

/// State of MoCo v3.
pub struct MocoV3 {
    query: Online,
    key: Encoder,
    config: MocoV3Config,
    /// Images that are compared at a time.
    images: usize,
    peers: Peers,
}

crate::module!(MocoV3 { query, key, peers });

impl MocoV3 {
    /// Both encoders start equal. `images` are compared at a time: the batch, or a part of it if it
    /// is computed in parts.
    pub fn new(
        config: &MocoV3Config,
        network: &NetworkSpec,
        images: usize,
        device: &Device,
    ) -> Self {
        let graph = device.clone().autodiff();
        let encoder = Self::new_encoder(config, network, &graph);
        let mut query = Online::new(encoder, &predictor(config, network), network, &graph);
        // On the plain device no gradient can reach the key encoder.
        let mut key = Self::new_encoder(config, &network.clone().without_drop_path(), device);
        copy_tensors(&mut query.encoder, &mut key);
        Self { query, key, config: config.clone(), images, peers: Peers::SOLO }
    }

    /// An encoder with the projector of its kind of backbone.
    pub fn new_encoder(config: &MocoV3Config, network: &NetworkSpec, device: &Device) -> Encoder {
        Encoder::new(network, |_| projector(config, network), device)
    }

    /// The momentum of a step, which may rise to 1 along half a cosine.
    fn momentum(&self, step: &Step) -> f64 {
        let m = self.config.momentum;
        if self.config.momentum_cosine { cosine(m, 1.0, step.progress()) } else { m }
    }

    /// `ctr(q, k)` of Alg. 1, but for its factor of 2T.
    fn contrast(&self, q: Tensor<2>, k: Tensor<2>) -> Contrast {
        let k = gather(l2_normalize(k), self.peers, "keys"); // [N, D], of all ranks
        info_nce_among(l2_normalize(q), k, self.config.temperature, self.peers)
    }
}

/// Three layers behind a transformer, two behind a residual network.
fn projector(config: &MocoV3Config, network: &NetworkSpec) -> MlpSpec {
    let hidden = if network.vit().is_some() { 2 } else { 1 };
    MlpSpec { output_norm: Some(Affine::Neither), ..head(config, network, hidden) }
}

/// Two layers, with BatchNorm at the end for a transformer.
fn predictor(config: &MocoV3Config, network: &NetworkSpec) -> MlpSpec {
    let output_norm = network.vit().is_some().then_some(Affine::Neither);
    MlpSpec { output_norm, ..head(config, network, 1) }
}

/// Hidden layers with BatchNorm, and no bias anywhere.
fn head(config: &MocoV3Config, network: &NetworkSpec, hidden: usize) -> MlpSpec {
    MlpSpec {
        output_bias: false,
        bn_groups: network.bn_groups(),
        ..MlpSpec::normalized(vec![config.hidden; hidden], config.dim)
    }
}

/// Alg. 1.
impl Compare for MocoV3 {
    /// Queries of both views.
    fn embed(&mut self, batch: &Batch) -> Vec<Tensor<2>> {
        let query = |x: &Tensor<4>| {
            let [_, q] = self.query.forward(x.clone(), Mode::Train);
            q // [N, D]
        };
        batch.pair().map(query).to_vec()
    }

    /// Keys of both views.
    fn constants(&mut self, batch: &Batch, step: &Step) -> Vec<Tensor<2>> {
        if step.is_first_part() {
            // With the query weights of this step, before their update.
            let m = self.momentum(step);
            ema::update(&mut self.key, &mut self.query.encoder, m);
        }
        batch.pair().map(|x| self.key.forward(x.clone(), Mode::Train)).to_vec() // no gradient
    }

    fn compare(
        &mut self,
        _: &[usize],
        queries: Vec<Tensor<2>>,
        keys: Vec<Tensor<2>>,
    ) -> StepOutput {
        let ([q1, q2], [k1, k2]) = (outputs(queries), outputs(keys));
        let feature_std = Metric::std(l2_normalize(q1.clone()));
        let forth = self.contrast(q1, k2);
        let back = self.contrast(q2, k1);
        StepOutput {
            loss: (forth.loss + back.loss) * (2.0 * self.config.temperature),
            metrics: vec![("accuracy", Metric::Mean(forth.accuracy)), ("feature_std", feature_std)],
        }
    }
}

impl Method for MocoV3 {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        compared_at_once(self, batch, step)
    }

    fn as_compare(&mut self) -> Option<&mut dyn Compare> {
        Some(self)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.query
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.query.encoder
    }

    fn expectation(&self) -> Expectation {
        let MocoV3Config { dim, temperature, .. } = self.config;
        let scale = 4.0 * temperature;
        let chance = scale * info_nce_chance(self.images - 1, dim, temperature);
        Expectation {
            chance,
            collapse: Some(scale * (self.images as f64).ln()),
            mend: "lower optim.lr, lengthen optim.warmup_epochs, or set model.freeze_patch",
            dim,
            parts_differ: Some("a query meets the keys of its part only, as negatives"),
            advice: format!(
                "The loss of unrelated vectors would be {chance:.2}, and it falls from there. A \
                 larger batch has more negatives and a higher loss. If kNN dips for an epoch, \
                 training was unstable: lower optim.lr, or lengthen optim.warmup_epochs."
            ),
        }
    }
}
