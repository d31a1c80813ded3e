//! SimSiam.
//!
//! Chen & He 2021, "Exploring Simple Siamese Representation Learning" (arXiv 2011.10566).
//!
//! BYOL without the moving average: one network sees both views, and the prediction from one view
//! should be the projection of the other. The gradient stops at the projection; without that the
//! network collapses within a few steps (Sec. 4.1, Fig. 2), which `stop_gradient = false` shows.
//!
//! As in the reference code, the last layer of the projector has a bias that is not trained, since
//! the BatchNorm behind it takes it out again, and the predictor's rate does not follow the
//! schedule (Sec. 4.2, Table 1 (c)).

mod spec;

pub use spec::{SimSiamConfig, SimSiamSpec};

use super::{Expectation, Method, Metric, Step, StepOutput, Treatment};
use crate::batch::Batch;
use crate::loss::{l2_normalize, negative_cosine};
use crate::models::{Encode, Encoder, MlpSpec, NetworkSpec, Online};
use crate::nn::{Affine, Mode, Module};
use burn::tensor::{Device, Tensor};

/// State of SimSiam.
pub struct SimSiam {
    online: Online,
    config: SimSiamConfig,
}

crate::module!(SimSiam { online });

impl SimSiam {
    /// An encoder f and a predictor h.
    pub fn new(config: &SimSiamConfig, network: &NetworkSpec, device: &Device) -> Self {
        let graph = device.clone().autodiff();
        let encoder = Self::new_encoder(config, network, &graph);
        let predictor = MlpSpec {
            bn_groups: network.bn_groups(),
            ..MlpSpec::normalized(vec![config.hidden], config.dim)
        };
        let online = Online::new(encoder, &predictor, network, &graph);
        Self { online, config: config.clone() }
    }

    /// An encoder with the paper's projector: BatchNorm at every layer, the last without scale and
    /// shift (Sec. 3, "Baseline settings").
    pub fn new_encoder(config: &SimSiamConfig, network: &NetworkSpec, device: &Device) -> Encoder {
        let head = |_| MlpSpec {
            output_norm: Some(Affine::Neither),
            bn_groups: network.bn_groups(),
            ..MlpSpec::normalized(
                vec![config.projector_hidden; config.projector_layers - 1],
                config.dim,
            )
        };
        let mut encoder = Encoder::new(network, head, device);
        encoder.head.fix_output_bias();
        encoder
    }

    /// `stopgrad(z)` of Eq. 3.
    fn stop_gradient(&self, z: Tensor<2>) -> Tensor<2> {
        if self.config.stop_gradient { z.without_autodiff() } else { z }
    }
}

impl Method for SimSiam {
    /// Alg. 1.
    fn loss(&mut self, batch: &Batch, _: &Step) -> StepOutput {
        let [x1, x2] = batch.pair();
        let [z1, p1] = self.online.forward(x1.clone(), Mode::Train); // [N, D]
        let [z2, p2] = self.online.forward(x2.clone(), Mode::Train);
        let feature_std = Metric::std(l2_normalize(z1.clone()));
        // Eq. 4.
        let loss = (negative_cosine(p1, self.stop_gradient(z2))
            + negative_cosine(p2, self.stop_gradient(z1)))
            / 2.0;
        StepOutput { loss, metrics: vec![("feature_std", feature_std)] }
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.online
    }

    fn treatment(&self, _: &Step) -> Treatment {
        let fixed_rate: &[_] = if self.config.fixed_predictor_lr { &["predictor."] } else { &[] };
        Treatment { fixed_rate, ..Treatment::default() }
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.online.encoder
    }

    fn expectation(&self) -> Expectation {
        let mend = if self.config.stop_gradient {
            "lower optim.lr, or widen the predictor with method.hidden"
        } else {
            "set method.stop_gradient to true"
        };
        Expectation {
            chance: 0.0,
            collapse: Some(-1.0),
            mend,
            dim: self.config.dim,
            parts_differ: None,
            advice:
                "The loss lies between -1 and 1, and is 0 for unrelated vectors. It comes near \
                     -1 for a good network and for a collapsed one: watch kNN, and feature_std, \
                     which tells them apart."
                    .to_owned(),
        }
    }
}
