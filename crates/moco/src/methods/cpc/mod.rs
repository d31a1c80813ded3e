//! CPC: van den Oord, Li & Vinyals 2018, "Representation Learning with Contrastive Predictive
//! Coding" (arXiv 1807.03748), Sec. 3.2; and its second version, Hénaff et al. 2020, "Data-Efficient
//! Image Recognition with Contrastive Predictive Coding" (arXiv 1905.09272).
//!
//! An image is a grid of overlapping patches, each encoded alone. From a place and all rows above
//! it, the encodings of places further down are told from those of all other places and images.
//! The second version predicts in four directions.
//!
//! The context network runs on the features themselves; behind it, targets and predictions are two
//! linear maps of their own to the width that they are compared in, as in lightning-bolts.
//!
//! Dot products, without normalisation and without temperature. Neighbouring patches share pixels,
//! so the first row predicted is a setting; the papers' figures start at the second one below.

mod spec;

pub use spec::{CpcConfig, CpcSpec};

use super::{Expectation, Method, Metric, Step, StepOutput};
use crate::batch::Batch;
use crate::config::FeatureKind;
use crate::loss::{cross_entropy_at, l2_normalize};
use crate::models::{Backbone, Context, Encode, NetworkSpec};
use crate::nn::{Linear, Mode, Module, Visitor, gather};
use burn::tensor::{Device, Tensor, s};
use moco_peers::Peers;

/// State of CPC.
pub struct Cpc {
    student: Student,
    config: CpcConfig,
    /// Images whose patches are compared.
    batch: usize,
    peers: Peers,
}

/// What is trained.
struct Student {
    encoder: PatchEncoder,
    /// Features to targets, where these have another width.
    target: Option<Linear>,
    directions: Vec<Direction>,
}

/// Context and predictions in one direction.
struct Direction {
    context: Context,
    /// W_k, one per row predicted: context to the width of the targets.
    predict: Vec<Linear>,
}

crate::module!(Cpc { student, peers });
crate::module!(Student { encoder, target, directions });
crate::module!(Direction { context, predict });

impl Cpc {
    /// Everything is a function of the network's seed. `grid` is rows and columns of patches,
    /// `batch` the number of images whose patches are compared.
    pub fn new(
        config: &CpcConfig,
        network: &NetworkSpec,
        grid: [usize; 2],
        batch: usize,
        device: &Device,
    ) -> Self {
        let device = device.clone().autodiff();
        let encoder = PatchEncoder::new(network, grid, &device);
        let rng = &mut network.weights(1);
        let (features, dim) = (encoder.backbone.features(), config.dim);
        let target = (features != dim).then(|| Linear::new(features, dim, rng, &device));
        let directions = (0..config.directions).map(|_| Direction {
            context: Context::new(
                features,
                config.context_width,
                config.context_blocks,
                config.context_padding,
                rng,
                &device,
            ),
            predict: (0..config.steps)
                .map(|_| Linear::without_bias(features, dim, rng, &device))
                .collect(),
        });
        let directions = directions.collect();
        let student = Student { encoder, target, directions };
        Self { student, config: config.clone(), batch, peers: Peers::SOLO }
    }

    /// What the predictions are compared with, `[N, rows, columns, D]`.
    fn targets(&self, z: Tensor<4>) -> Tensor<4> {
        match &self.student.target {
            Some(target) => target.forward(z),
            None => z,
        }
    }

    /// `[n, rows, columns, D]` of this rank to `[N, rows, columns, D]` of all.
    fn of_all_ranks(&self, targets: Tensor<4>) -> Tensor<4> {
        if self.peers.alone() {
            return targets;
        }
        let [n, rows, columns, dim] = targets.dims();
        let flat = targets.reshape([n, rows * columns * dim]);
        gather(flat, self.peers, "patches").reshape([n * self.peers.size(), rows, columns, dim])
    }

    /// The sum over rows, predicting downwards (v1 Eq. 4).
    ///
    /// `z` is `[N, rows, columns, F]`.
    fn predict_down(&self, direction: &Direction, z: Tensor<4>) -> Tensor<1> {
        let targets = self.of_all_ranks(self.targets(z.clone()));
        let c = direction.context.forward(z.clone()); // [N, rows, columns, F]
        let mut loss = Tensor::zeros([1], &z.device());
        for (k, w) in direction.predict.iter().enumerate() {
            // ẑ_{i+k,j} = W_k c_{i,j}
            let predicted = w.forward(c.clone()) * self.config.prediction_scale;
            let offset = self.config.first_offset + k;
            loss = loss + cpc_loss_among(predicted, &targets, offset, self.peers);
        }
        loss
    }
}

/// InfoNCE of what each place says of the place `offset` rows below it, among all places of all
/// images, by dot product: v1 Eq. 4 for one row.
///
/// # Shapes
/// `predicted` and `z` are `[N, rows, columns, D]`, the result is `[1]`.
pub fn cpc_loss(predicted: Tensor<4>, z: &Tensor<4>, offset: usize) -> Tensor<1> {
    cpc_loss_among(predicted, z, offset, Peers::SOLO)
}

/// As [`cpc_loss`], for the images of one rank among those of all, by stride.
fn cpc_loss_among(predicted: Tensor<4>, z: &Tensor<4>, offset: usize, peers: Peers) -> Tensor<1> {
    let [all_images, rows, columns, dim] = z.dims();
    let [n, ..] = predicted.dims();
    let (seen, places) = (rows - offset, rows * columns);
    let predicted = predicted.slice(s![.., 0..seen, .., ..]).reshape([n * seen * columns, dim]);
    let all = z.clone().reshape([all_images * places, dim]);
    let logits = predicted.matmul(all.transpose()); // [n seen columns, N rows columns]
    let own = (0..n * seen * columns).map(|at| {
        let (image, place) = (at / (seen * columns), at % (seen * columns));
        peers.global(image) * places + place + offset * columns
    });
    cross_entropy_at(logits, own)
}

/// `z` turned so that predicting in the `number`-th direction (down, up, right, left) is predicting
/// downwards.
///
/// # Shapes
/// `[N, rows, columns, D]`, with rows and columns exchanged for the last two.
pub fn cpc_turned(z: Tensor<4>, number: usize) -> Tensor<4> {
    match number {
        0 => z,                           // down
        1 => z.flip([1]),                 // up
        2 => z.swap_dims(1, 2),           // right
        _ => z.swap_dims(1, 2).flip([1]), // left
    }
}

impl Method for Cpc {
    fn loss(&mut self, batch: &Batch, _: &Step) -> StepOutput {
        let z = self.student.encoder.encode(batch.single().clone(), Mode::Train);
        let mut loss = Tensor::zeros([1], &z.device());
        for (number, direction) in self.student.directions.iter().enumerate() {
            loss = loss + self.predict_down(direction, cpc_turned(z.clone(), number));
        }
        let z = self.targets(z);
        let [n, rows, columns, dim] = z.dims();
        let flat = l2_normalize(z.without_autodiff().reshape([n * rows * columns, dim]));
        StepOutput { loss, metrics: vec![("feature_std", Metric::std(flat))] }
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.student
    }

    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.student.encoder
    }

    fn expectation(&self) -> Expectation {
        let terms = self.config.steps * self.config.directions;
        let places: usize = self.student.encoder.grid.into_iter().product();
        let chance = terms as f64 * ((self.batch * places) as f64).ln();
        Expectation {
            chance,
            collapse: Some(chance),
            mend: "lower optim.lr",
            dim: self.config.dim,
            advice: format!(
                "The loss is a sum of {terms} terms, each the logarithm of the number of patches in \
                 a batch for predictions without information: {chance:.2} in all."
            ),
            parts_differ: Some("since the negatives are the patches of a part"),
        }
    }
}

/// A backbone that sees each patch of an image alone.
#[derive(Debug)]
pub struct PatchEncoder {
    backbone: Backbone,
    grid: [usize; 2],
}

impl Module for PatchEncoder {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.backbone.visit(visitor);
    }
}

impl PatchEncoder {
    /// Draws a backbone for images of `grid` rows and columns of patches.
    pub fn new(network: &NetworkSpec, grid: [usize; 2], device: &Device) -> Self {
        Self { backbone: Backbone::new(network, 3, &mut network.weights(0), device), grid }
    }

    /// # Shapes
    /// `[N rows columns, h, w, 3]`, image by image and row by row, to `[N, rows, columns, F]`.
    fn encode(&mut self, patches: Tensor<4>, mode: Mode) -> Tensor<4> {
        let [rows, columns] = self.grid;
        let z = self.backbone.forward(patches, mode);
        let [all, features] = z.dims();
        z.reshape([all / (rows * columns), rows, columns, features])
    }
}

/// The feature of an image is the mean over its patches (v1 Sec. 3.2).
impl Encode for PatchEncoder {
    fn embed(&mut self, x: Tensor<4>, _: FeatureKind, mode: Mode) -> Tensor<2> {
        let z = self.encode(x, mode);
        let [n, rows, columns, features] = z.dims();
        z.reshape([n, rows * columns, features]).mean_dim(1).reshape([n, features])
    }

    fn width(&self, _: FeatureKind) -> usize {
        self.backbone.features()
    }

    fn backbone(&mut self) -> &mut dyn Module {
        &mut self.backbone
    }
}
