//! The learning methods, one folder each, behind one small trait: the paper's page in `mod.rs`, and in
//! `spec.rs` what the rest of the program asks of the method, see [`Spec`].
//!
//! A method owns everything that makes it that method: its networks, its memory, its loss. It
//! knows nothing of files, loops, schedules of the learning rate or reports. The trainer calls
//!
//! ```text
//! loss(batch, step)      forward passes and the loss, with the state as it stood
//!   backward, optimiser  on student(), each parameter as treatment() says
//! after_update(step)     what follows the optimiser: enqueue, moving averages, centres, banks
//! ```
//!
//! and saves the whole method through its [`Module`] walk, so a queue, a bank, a centre or a
//! pointer survives a resume by being visited. Where the family differs:
//!
//! | need | where it lives |
//! |---|---|
//! | average before the keys (MoCo) / after the step (BYOL, DINO) | `loss` / `after_update` |
//! | memory bank rows by image (InstDisc, CMC) | [`Batch::indices`] |
//! | views of several sizes (SwAV, DINO), one view (MAE, InstDisc) | [`Batch::views`] |
//! | two networks (CMC), predictor (BYOL, SimSiam, MoCo v3) | fields visited by `student` |
//! | parts that rest for a while (SwAV, DINO), or keep their rate (SimSiam) | `treatment` |
//! | schedules of momentum and temperature | [`Step::progress`], [`Step::epoch`] |
//! | a batch computed in parts | [`Step::part`] |
//! | a loss that compares all images of a batch, whose networks see it in parts | [`Compare`] |

mod byol;
mod cmc;
mod cpc;
mod dino;
mod holds;
mod instdisc;
mod invaspread;
mod mae;
mod moco;
mod moco_v3;
mod registry;
mod simclr;
mod simsiam;
mod spec;
mod swav;
mod usual;

pub use byol::{Byol, ByolConfig};
pub use cmc::{Cmc, CmcConfig};
pub use cpc::{Cpc, CpcConfig, PatchEncoder, cpc_loss, cpc_turned};
pub use dino::{Dino, DinoConfig};
pub use holds::{Holds, Rows, Weights};
pub use instdisc::{InstDisc, InstDiscConfig};
pub use invaspread::{InvaSpread, InvaSpreadConfig, InvaSpreadGradient};
pub use mae::{Mae, MaeConfig};
pub use moco::{HeadKind, Moco, MocoConfig};
pub use moco_v3::{MocoV3, MocoV3Config};
pub use registry::{REGISTRY, all, find, names, register};
pub use simclr::{Reduction, SimClr, SimClrConfig};
pub use simsiam::{SimSiam, SimSiamConfig};
pub use spec::{Card, MethodSettings, Profile, Sees, Settled, Site, Spec, Width};
pub use swav::{SwAv, SwAvConfig};

use crate::batch::Batch;
use crate::models::Encode;
use crate::nn::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A self-supervised learning method with its whole state.
pub trait Method: Module {
    /// The loss of one batch, or of one part of it, and values worth watching. Must leave the
    /// graph alive.
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput;

    /// What the optimiser trains.
    fn student(&mut self) -> &mut dyn Module;

    /// The parameters of [`Method::student`] that are not trained as all others at this step.
    fn treatment(&self, _step: &Step) -> Treatment {
        Treatment::default()
    }

    /// Called after the optimiser has moved [`Method::student`].
    fn after_update(&mut self, _step: &Step) {}

    /// What the method remembers of each image of the data set, in its order, `[images, D]` and
    /// outside autodiff, comparable with [`crate::config::FeatureKind::Head`]; `None` without a memory bank.
    fn memory(&self) -> Option<Tensor<2>> {
        None
    }

    /// The network that is evaluated and exported.
    fn encoder(&mut self) -> &mut dyn Encode;

    /// What the loss is expected to look like.
    fn expectation(&self) -> Expectation;

    /// The method as one whose loss follows from its networks' outputs alone; `None` if its networks
    /// must see a batch at once, or its loss needs no other images of the batch.
    fn as_compare(&mut self) -> Option<&mut dyn Compare> {
        None
    }
}

/// A method whose loss is a function of what its networks make of each image, so that the networks
/// may see a batch in parts and the loss still compares all of its images.
pub trait Compare {
    /// What the trained networks make of a batch, or of a part of it, on the graph: each `[N, D]`, row
    /// n of image n.
    fn embed(&mut self, batch: &Batch) -> Vec<Tensor<2>>;

    /// What else the loss needs to know of these images, outside the graph, such as keys and targets:
    /// each `[N, D]`, row n of image n. Called once for each part, in their order.
    fn constants(&mut self, _batch: &Batch, _step: &Step) -> Vec<Tensor<2>> {
        Vec::new()
    }

    /// The loss of a whole batch, from [`Compare::embed`] and [`Compare::constants`] of all its
    /// `images`.
    fn compare(
        &mut self,
        images: &[usize],
        embeddings: Vec<Tensor<2>>,
        constants: Vec<Tensor<2>>,
    ) -> StepOutput;
}

/// The loss of a batch that the networks see at once.
fn compared_at_once(method: &mut dyn Compare, batch: &Batch, step: &Step) -> StepOutput {
    let embeddings = method.embed(batch);
    let constants = method.constants(batch, step);
    method.compare(&batch.indices, embeddings, constants)
}

/// As many outputs as a method itself made.
///
/// # Panics
/// If there are others.
fn outputs<const N: usize>(tensors: Vec<Tensor<2>>) -> [Tensor<2>; N] {
    tensors.try_into().expect("the outputs that this method made")
}

/// Parameters that are not trained as all others, by the beginnings of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// Not moved at all, as if no gradient had reached them.
    pub frozen: &'static [&'static str],
    /// Moved at the rate before any schedule.
    pub fixed_rate: &'static [&'static str],
}

impl Treatment {
    /// The learning rate of a parameter, of the scheduled and the fixed one; `None` if it is frozen.
    pub fn rate(&self, name: &str, scheduled: f64, fixed: f64) -> Option<f64> {
        let among = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
        match () {
            () if among(self.frozen) => None,
            () if among(self.fixed_rate) => Some(fixed),
            () => Some(scheduled),
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Steps finished before this one.
    pub index: usize,
    /// Steps of the whole schedule.
    pub total: usize,
    /// Steps of an epoch.
    pub per_epoch: usize,
    /// The run's seed.
    pub seed: u64,
    /// Which part of the batch is being computed, from 0: batches may be computed in parts, one
    /// after the other, to save memory. State moves once per step, so before the first part or
    /// after the last.
    pub part: usize,
}

impl Step {
    /// Share of the schedule that is done, 0..1.
    pub fn progress(&self) -> f64 {
        self.index as f64 / self.total as f64
    }

    /// The epoch that the step belongs to, from 0.
    pub fn epoch(&self) -> usize {
        self.index / self.per_epoch
    }

    /// Whether this is the first part of the step's batch.
    pub fn is_first_part(&self) -> bool {
        self.part == 0
    }
}

/// What a step yields.
pub struct StepOutput {
    /// Scalar loss, `[1]`, on the autodiff graph.
    pub loss: Tensor<1>,
    /// What is worth watching.
    pub metrics: Vec<(&'static str, Metric)>,
}

/// A value worth watching, outside autodiff. It is told of the whole batch, however many parts and ranks
/// have computed it.
#[derive(Clone, Debug)]
pub enum Metric {
    /// A scalar of this part of the batch, `[1]`; all parts count alike.
    Mean(Tensor<1>),
    /// Rows of this part, `[N, D]`; told is [`crate::loss::channel_std`] of all.
    Std(Tensor<2>),
}

impl Metric {
    /// The standard deviation of the channels of `rows`, which may be on the graph.
    pub fn std(rows: Tensor<2>) -> Self {
        Self::Std(rows.without_autodiff())
    }
}

/// What a loss should look like, for people who watch it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Loss of a network that has learnt nothing.
    pub chance: f64,
    /// Loss of a network whose output no longer depends on its input, where it tells.
    pub collapse: Option<f64>,
    /// What usually causes a collapse, as the end of a sentence: "lower ..., or raise ...".
    pub mend: &'static str,
    /// Width of the normalised embeddings, whose healthy standard deviation is 1/sqrt of it.
    pub dim: usize,
    /// One or two sentences for the start of a run.
    pub advice: String,
    /// Why a batch computed in parts is not the same as the whole batch, as the end of a sentence;
    /// `None` if it is, but for BatchNorm, whose statistics are always those of a part.
    pub parts_differ: Option<&'static str>,
}

/// How a sample is told from the rows of a memory bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BankLoss {
    /// Cross-entropy: over all rows in instance discrimination, over the sampled ones in CMC.
    Softmax,
    /// Cross-entropy over the sampled rows in instance discrimination, as the authors' later models
    /// have it.
    SampledSoftmax,
    /// Noise-contrastive estimation against sampled rows, with a constant fixed at the first batch.
    Nce,
}

impl BankLoss {
    /// The words for these in a configuration.
    pub const NAMES: &'static [&'static str] = &["softmax", "sampled-softmax", "nce"];
}
