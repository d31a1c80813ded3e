//! What `moco bench step` times: things that are done again and again on one random batch.

use crate::args::WorkKind;
use anyhow::anyhow;
use moco::batch::{Batch, pixels_to_tensor, to_host};
use moco::config::FeatureKind;
use moco::device::Device;
use moco::eval::{Classifier, cross_entropy};
use moco::methods::{Method, Step};
use moco::models::Encode;
use moco::nn::{Mode, freeze, share};
use moco::optim::{NamedGradients, Optimizer};
use moco::plan::Plan;
use moco::train::{NotFinite, Parts, Rates, learn_among};
use moco_data::View;
use moco_peers::Peers;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Images that derived settings and banks are made for: a queue of 4096 keys suits it.
pub const IMAGES: usize = 50_000;
/// Classes of supervised training, as many as ImageNet has.
const CLASSES: usize = 1000;
/// Small enough that no network comes to harm on random images.
const RATE: f64 = 1e-3;

/// Something that can be done again and again.
pub trait Work {
    /// Does it once.
    fn once(&mut self) -> anyhow::Result<()>;
}

/// Makes ready what is to be timed.
pub fn prepare(kind: WorkKind, config: &Plan, device: &Device) -> anyhow::Result<Box<dyn Work>> {
    config.check_memory(IMAGES)?;
    let views = random_views(config, device)?;
    Ok(match kind {
        WorkKind::Method => Box::new(MethodStep::new(config, views, device, Peers::SOLO)),
        WorkKind::Train => Box::new(Training::new(config, views, device)),
        WorkKind::Forward => Box::new(Encoding::new(config, views, device)),
    })
}

/// One random batch of every view.
pub fn random_views(config: &Plan, device: &Device) -> anyhow::Result<Batch> {
    let n = config.train.batch_size;
    let mut rng = ChaCha8Rng::seed_from_u64(config.train.seed);
    let mut random = |view: &View| {
        let ([h, w], rows) = (view.size(), n * view.count());
        let pixels = (0..rows * h * w * 3).map(|_| rng.random_range(-1.0..1.0)).collect();
        pixels_to_tensor(pixels, [rows, h, w], device)
    };
    let views = config.views().iter().map(&mut random).collect();
    Ok(Batch { indices: (0..n).collect(), views })
}

/// A method's whole step.
pub struct MethodStep {
    method: Box<dyn Method>,
    optimizer: Optimizer,
    batch: Batch,
    rates: Rates,
    parts: Parts,
    step: Step,
    peers: Peers,
}

impl MethodStep {
    /// Of `batch`, this rank's share of what the configuration says.
    pub fn new(config: &Plan, batch: Batch, device: &Device, peers: Peers) -> Self {
        let mut method = config.method(IMAGES, device);
        let optimizer = Optimizer::new(&config.optim, method.student());
        let step = Step { index: 0, total: usize::MAX, per_epoch: usize::MAX, seed: 0, part: 0 };
        let rates = Rates { lr: RATE, fixed_lr: RATE, weight_decay: config.optim.weight_decay };
        share(method.as_mut(), peers);
        Self { method, optimizer, batch, rates, parts: Parts::of(&config.optim), step, peers }
    }
}

impl Work for MethodStep {
    fn once(&mut self) -> anyhow::Result<()> {
        let (method, optimizer) = (self.method.as_mut(), &mut self.optimizer);
        let batch = self.batch.clone();
        let (rates, parts) = (&self.rates, self.parts);
        learn_among(method, optimizer, batch, self.step, rates, parts, self.peers).map_err(
            |NotFinite(loss)| anyhow!("the loss became {loss}: lower the rate with --set"),
        )?;
        self.step.index += 1;
        Ok(())
    }
}

/// Supervised training: forward pass, cross-entropy, backward pass, optimiser.
struct Training {
    network: Classifier,
    optimizer: Optimizer,
    batch: Batch,
    labels: Vec<u32>,
    weight_decay: f64,
}

impl Training {
    fn new(config: &Plan, batch: Batch, device: &Device) -> Self {
        let graph = device.clone().autodiff();
        let encoder = config.encoder(&graph);
        let mut network = Classifier::new(encoder, CLASSES, config.train.seed, &graph);
        let optimizer = Optimizer::new(&config.optim, &mut network);
        let labels = (0..batch.views[0].dims()[0]).map(|i| (i % CLASSES) as u32).collect();
        Self { network, optimizer, batch, labels, weight_decay: config.optim.weight_decay }
    }
}

impl Work for Training {
    fn once(&mut self) -> anyhow::Result<()> {
        let logits = self.network.forward(self.batch.views[0].clone(), Mode::Train);
        let loss = cross_entropy(logits, &self.labels, 0.0);
        let gradients = NamedGradients::of(&mut self.network, &loss.backward());
        self.optimizer.step(&mut self.network, gradients, self.weight_decay, |_| Some(RATE));
        Ok(())
    }
}

/// Images to features, without a gradient.
struct Encoding {
    encoder: Box<dyn Encode>,
    batch: Batch,
}

impl Encoding {
    fn new(config: &Plan, batch: Batch, device: &Device) -> Self {
        let mut encoder = config.encoder(device);
        freeze(encoder.as_mut());
        Self { encoder, batch }
    }
}

impl Work for Encoding {
    fn once(&mut self) -> anyhow::Result<()> {
        let images = self.batch.views[0].clone();
        to_host(self.encoder.embed(images, FeatureKind::Backbone, Mode::Eval));
        Ok(())
    }
}
