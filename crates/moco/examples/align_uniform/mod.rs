//! Alignment and uniformity as a [`Method`].

use burn::tensor::Tensor;
use moco::batch::Batch;
use moco::config::RunConfig;
use moco::device::Device;
use moco::loss::{channel_std, l2_normalize};
use moco::methods::{Expectation, Method, Step, StepOutput};
use moco::models::{Encode, Encoder, MlpSpec, NetworkSpec};
use moco::nn::{Mode, Module};
use moco::train::OwnMethod;

/// The method with a run's backbone, as the trainer wants it; `device` is the plain device.
pub fn own_method(config: &RunConfig, device: &Device) -> OwnMethod {
    let network = NetworkSpec::of(config);
    OwnMethod {
        name: "align-uniform".to_owned(),
        method: Box::new(AlignUniform::new(&network, device)),
        encoder: Box::new(move |device| Box::new(AlignUniform::new_encoder(&network, device))),
    }
}

/// Width of the embeddings.
const DIM: usize = 64;
/// How steeply two embeddings repel each other; t in the paper.
const STEEPNESS: f64 = 2.0;

/// One network, and no memory.
struct AlignUniform {
    encoder: Encoder,
}

moco::module!(AlignUniform { encoder });

impl AlignUniform {
    fn new(network: &NetworkSpec, device: &Device) -> Self {
        Self { encoder: Self::new_encoder(network, &device.clone().autodiff()) }
    }

    /// A backbone and a projector with one hidden layer.
    fn new_encoder(network: &NetworkSpec, device: &Device) -> Encoder {
        Encoder::new(network, |features| MlpSpec::plain(vec![features], DIM), device)
    }
}

/// Mean squared distance of rows n of two `[N, D]`.
fn alignment(x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
    (x - y).square().sum_dim(1).mean()
}

/// Logarithm of the mean of `exp(-t |a - b|²)` over all pairs of rows of `[N, D]`, each with itself
/// too. The rows have unit length, so that `|a - b|² = 2 - 2 a·b`.
fn uniformity(x: Tensor<2>) -> Tensor<1> {
    let similarity = x.clone().matmul(x.transpose()); // [N, N]
    ((similarity - 1.0) * (2.0 * STEEPNESS)).exp().mean().log()
}

impl Method for AlignUniform {
    /// Sec. 4.2, equal weights.
    fn loss(&mut self, batch: &Batch, _: &Step) -> StepOutput {
        let [x, y] = batch.pair().map(|view| {
            l2_normalize(self.encoder.forward(view.clone(), Mode::Train)) // [N, D]
        });
        let align = alignment(x.clone(), y.clone());
        let uniform = (uniformity(x.clone()) + uniformity(y)) / 2.0;
        let metrics = vec![
            ("alignment", align.clone().without_autodiff()),
            ("uniformity", uniform.clone().without_autodiff()),
            ("feature_std", channel_std(x)),
        ];
        StepOutput { loss: align + uniform, metrics }
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.encoder
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.encoder
    }

    fn expectation(&self) -> Expectation {
        // Unrelated vectors: squared distance 2, and nearly orthogonal pairs.
        let chance = 2.0 - 2.0 * STEEPNESS;
        Expectation {
            chance,
            collapse: Some(0.0),
            mend: "lower optim.lr",
            dim: DIM,
            parts_differ: Some("images repel those of their own part only"),
            advice: format!("The loss of unrelated vectors would be about {chance:.1}."),
        }
    }
}
