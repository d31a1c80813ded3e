//! Alignment and uniformity as a method of one's own: this file is the paper's page, `spec.rs` what the
//! library asks of it.

mod spec;

pub use spec::{AlignUniformConfig, AlignUniformSpec};

use burn::tensor::Tensor;
use moco::batch::Batch;
use moco::device::Device;
use moco::loss::l2_normalize;
use moco::methods::{Expectation, Method, Metric, Step, StepOutput};
use moco::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use moco::nn::{Mode, Module};

/// One network, and no memory.
pub struct AlignUniform {
    encoder: Encoder,
    config: AlignUniformConfig,
}

moco::module!(AlignUniform { encoder });

impl AlignUniform {
    /// Everything is a function of the network's seed.
    pub fn new(config: &AlignUniformConfig, network: &NetworkSpec, device: &Device) -> Self {
        let encoder = Self::new_encoder(config, network, &device.clone().autodiff());
        Self { encoder, config: config.clone() }
    }

    /// A backbone and a projector with one hidden layer.
    pub fn new_encoder(
        config: &AlignUniformConfig,
        network: &NetworkSpec,
        device: &Device,
    ) -> Encoder {
        Encoder::new(network, |features| MlpSpec::plain(vec![features], config.dim), device)
    }
}

/// Mean squared distance of rows n of two `[N, D]`.
fn alignment(x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
    (x - y).square().sum_dim(1).mean()
}

/// Logarithm of the mean of `exp(-t |a - b|²)` over all pairs of rows of `[N, D]`, each with itself
/// too. The rows have unit length, so that `|a - b|² = 2 - 2 a·b`.
fn uniformity(x: Tensor<2>, t: f64) -> Tensor<1> {
    let similarity = x.clone().matmul(x.transpose()); // [N, N]
    ((similarity - 1.0) * (2.0 * t)).exp().mean().log()
}

impl Method for AlignUniform {
    /// Sec. 4.2.
    fn loss(&mut self, batch: &Batch, _: &Step) -> StepOutput {
        let [x, y] = batch.pair().map(|view| {
            l2_normalize(self.encoder.forward(view.clone(), Mode::Train)) // [N, D]
        });
        let align = alignment(x.clone(), y.clone());
        let AlignUniformConfig { steepness: t, uniformity: weight, .. } = self.config;
        let uniform = (uniformity(x.clone(), t) + uniformity(y, t)) / 2.0;
        let metrics = vec![
            ("alignment", Metric::Mean(align.clone().without_autodiff())),
            ("uniformity", Metric::Mean(uniform.clone().without_autodiff())),
            ("feature_std", Metric::std(x)),
        ];
        StepOutput { loss: align + uniform * weight, metrics }
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.encoder
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.encoder
    }

    fn expectation(&self) -> Expectation {
        // Unrelated vectors: squared distance 2, and nearly orthogonal pairs.
        let AlignUniformConfig { steepness: t, uniformity: weight, dim } = self.config;
        let chance = 2.0 - 2.0 * t * weight;
        Expectation {
            chance,
            collapse: Some(0.0),
            mend: "lower optim.lr",
            dim,
            parts_differ: Some("images repel those of their own part only"),
            advice: format!("The loss of unrelated vectors would be about {chance:.1}."),
        }
    }
}
