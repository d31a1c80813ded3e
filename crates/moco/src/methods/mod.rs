//! The learning methods, one file each, behind one small trait.
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
mod card;
mod cmc;
mod cpc;
mod dino;
mod instdisc;
mod invaspread;
mod mae;
mod moco;
mod moco_v3;
mod simclr;
mod simsiam;
mod size;
mod swav;

pub use byol::Byol;
pub use card::{CARDS, Card};
pub use cmc::Cmc;
pub use cpc::{Cpc, PatchEncoder, cpc_loss, cpc_turned};
pub use dino::Dino;
pub use instdisc::InstDisc;
pub use invaspread::InvaSpread;
pub use mae::Mae;
pub use moco::Moco;
pub use moco_v3::MocoV3;
pub use simclr::SimClr;
pub use simsiam::SimSiam;
pub use size::{check_encoder_memory, check_memory};
pub use swav::SwAv;

use crate::batch::Batch;
use crate::config::{MethodConfig, RunConfig};
use crate::models::{DinoEncoder, Encode, NetworkSpec};
use crate::nn::Module;
use burn::tensor::{Device, Tensor};

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
    /// Scalars worth watching, each `[1]`, outside autodiff.
    pub metrics: Vec<(&'static str, Tensor<1>)>,
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

/// Builds the method that a configuration names, with weights drawn from its seed.
///
/// `images` is the size of the data set: banks have a row for each. `device` is the plain device;
/// the trained networks are put on its autodiff side.
pub fn build(config: &RunConfig, images: usize, device: &Device) -> Box<dyn Method> {
    let network = NetworkSpec::of(config);
    let part = config.compared_images();
    match &config.method {
        MethodConfig::Cpc(cpc) => {
            Box::new(Cpc::new(cpc, &network, patch_grid(config), part, device))
        }
        MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => {
            Box::new(Moco::new(moco, &network, device))
        }
        MethodConfig::SimClr(simclr) | MethodConfig::SimClrV2(simclr) => {
            Box::new(SimClr::new(simclr, &network, part, device))
        }
        MethodConfig::Byol(byol) => Box::new(Byol::new(byol, &network, device)),
        MethodConfig::SimSiam(simsiam) => Box::new(SimSiam::new(simsiam, &network, device)),
        MethodConfig::MocoV3(moco) => Box::new(MocoV3::new(moco, &network, part, device)),
        MethodConfig::SwAv(swav) => Box::new(SwAv::new(swav, &network, device)),
        MethodConfig::Dino(dino) => Box::new(Dino::new(dino, &network, device)),
        MethodConfig::Mae(mae) => Box::new(Mae::new(mae, &network, device)),
        MethodConfig::InstDisc(instdisc) => {
            Box::new(InstDisc::new(instdisc, &network, images, device))
        }
        MethodConfig::InvaSpread(invaspread) => {
            Box::new(InvaSpread::new(invaspread, &network, part, device))
        }
        MethodConfig::Cmc(cmc) => Box::new(Cmc::new(cmc, &network, images, device)),
    }
}

/// The network that a method's evaluation needs, untrained, without the rest of the method.
pub fn encoder(config: &RunConfig, device: &Device) -> Box<dyn Encode> {
    let network = NetworkSpec::of(config);
    match &config.method {
        MethodConfig::Cpc(_) => Box::new(PatchEncoder::new(&network, patch_grid(config), device)),
        MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => {
            Box::new(Moco::new_encoder(moco, &network, device))
        }
        MethodConfig::SimClr(simclr) | MethodConfig::SimClrV2(simclr) => {
            Box::new(SimClr::new_encoder(simclr, &network, device))
        }
        MethodConfig::Byol(byol) => Box::new(Byol::new_encoder(byol, &network, device)),
        MethodConfig::SimSiam(simsiam) => Box::new(SimSiam::new_encoder(simsiam, &network, device)),
        MethodConfig::MocoV3(moco) => Box::new(MocoV3::new_encoder(moco, &network, device)),
        MethodConfig::SwAv(swav) => Box::new(SwAv::new_encoder(swav, &network, device)),
        MethodConfig::Dino(dino) => Box::new(DinoEncoder::new(dino, &network, device)),
        MethodConfig::Mae(_) => Box::new(Mae::new_encoder(&network, device)),
        MethodConfig::InstDisc(instdisc) => {
            Box::new(InstDisc::new_encoder(instdisc, &network, device))
        }
        MethodConfig::InvaSpread(invaspread) => {
            Box::new(InvaSpread::new_encoder(invaspread, &network, device))
        }
        MethodConfig::Cmc(cmc) => Box::new(Cmc::new_encoder(cmc, &network, device)),
    }
}

/// Rows and columns of the patches that CPC's view makes.
fn patch_grid(config: &RunConfig) -> [usize; 2] {
    let views = config.data.parse_views().expect("validated views");
    views.first().and_then(moco_data::View::grid).expect("a view of patches")
}
