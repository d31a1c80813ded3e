//! Bootstrap Your Own Latent.
//!
//! Grill et al. 2020, "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning"
//! (arXiv 2006.07733).
//!
//! No negatives: the online network predicts, from one view, what the target network makes of the
//! other. The target is a moving average of the online network; with the predictor, this is what
//! keeps the constant solution away.
//!
//! The average is taken after the optimiser's step, with the momentum of that step, as in the
//! reference code. That code draws the target's first weights by themselves; here, as in the
//! paper's pseudocode, it starts as a copy.

mod spec;

pub use spec::{ByolConfig, ByolSpec};

use super::{Compare, Expectation, Method, Metric, Step, StepOutput, compared_at_once, outputs};
use crate::batch::Batch;
use crate::loss::{l2_normalize, normalized_distance};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec, Online};
use crate::nn::{Mode, Module, copy_tensors};
use crate::parts::ema;
use crate::schedule::cosine;
use burn::tensor::{Device, Tensor};

/// State of BYOL.
pub struct Byol {
    online: Online,
    target: Encoder,
    config: ByolConfig,
}

crate::module!(Byol { online, target });

impl Byol {
    /// Both networks start equal.
    pub fn new(config: &ByolConfig, network: &NetworkSpec, device: &Device) -> Self {
        let graph = device.clone().autodiff();
        let encoder = Self::new_encoder(config, network, &graph);
        let mut online = Online::new(encoder, &mlp(config, network), network, &graph);
        // On the plain device no gradient can reach the target.
        let mut target = Self::new_encoder(config, &network.clone().without_drop_path(), device);
        copy_tensors(&mut online.encoder, &mut target);
        Self { online, target, config: config.clone() }
    }

    /// An encoder with the paper's projector.
    pub fn new_encoder(config: &ByolConfig, network: &NetworkSpec, device: &Device) -> Encoder {
        Encoder::new(network, |_| mlp(config, network), device)
    }
}

/// Projector and predictor alike (Sec. 3.3): a bias before BatchNorm, none at the end.
fn mlp(config: &ByolConfig, network: &NetworkSpec) -> MlpSpec {
    MlpSpec {
        hidden_norm: true,
        output_bias: false,
        bn_groups: network.bn_groups(),
        ..MlpSpec::plain(vec![config.hidden], config.dim)
    }
}

impl Compare for Byol {
    /// Predictions of both views, and the first one's projection, which is watched alone.
    fn embed(&mut self, batch: &Batch) -> Vec<Tensor<2>> {
        let [x1, x2] = batch.pair();
        let [z1, q1] = self.online.forward(x1.clone(), Mode::Train); // [N, D]
        let [_, q2] = self.online.forward(x2.clone(), Mode::Train);
        vec![q1, q2, z1]
    }

    /// The targets of both views.
    fn constants(&mut self, batch: &Batch, _: &Step) -> Vec<Tensor<2>> {
        batch.pair().map(|x| self.target.forward(x.clone(), Mode::Train)).to_vec() // no gradient
    }

    fn compare(
        &mut self,
        _: &[usize],
        online: Vec<Tensor<2>>,
        targets: Vec<Tensor<2>>,
    ) -> StepOutput {
        let ([q1, q2, z1], [target1, target2]) = (outputs(online), outputs(targets));
        // Eq. 2, and the same with the views exchanged.
        let loss = normalized_distance(q1, target2) + normalized_distance(q2, target1);
        StepOutput { loss, metrics: vec![("feature_std", Metric::std(l2_normalize(z1)))] }
    }
}

impl Method for Byol {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        compared_at_once(self, batch, step)
    }

    fn as_compare(&mut self) -> Option<&mut dyn Compare> {
        Some(self)
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.online
    }

    /// `xi <- tau xi + (1 - tau) theta`, where tau rises to 1: it is
    /// `1 - (1 - tau_0) (cos(pi k/K) + 1) / 2` at step k of K (Sec. 3.3).
    fn after_update(&mut self, step: &Step) {
        let m = self.config.momentum;
        let tau = if self.config.momentum_cosine { cosine(m, 1.0, step.progress()) } else { m };
        ema::update(&mut self.target, &mut self.online.encoder, tau);
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.online.encoder
    }

    fn expectation(&self) -> Expectation {
        Expectation {
            chance: 4.0,
            collapse: Some(0.0),
            mend: "raise method.momentum towards 0.999, or lower optim.lr",
            dim: self.config.dim,
            parts_differ: None,
            advice: "The loss lies between 0 and 8, and is 4 for unrelated vectors. It is low for \
                     a good network and for a collapsed one: watch kNN, and feature_std, which \
                     tells them apart."
                .to_owned(),
        }
    }
}
