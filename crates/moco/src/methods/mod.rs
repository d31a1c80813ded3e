//! The learning methods, one file each, behind one small trait.
//!
//! A method owns everything that makes it that method: its networks, its memory, its loss. It
//! knows nothing of files, loops, schedules of the learning rate or reports. The trainer calls
//!
//! ```text
//! loss(batch, step)      forward passes and the loss, with the state as it stood
//!   backward, optimiser  on student(), nothing else
//! after_update(step)     what follows the optimiser: enqueue, moving averages, centres, banks
//! ```
//!
//! and saves the whole method through its [`Module`] walk, so a queue, a bank, a centre or a
//! pointer survives a resume by being visited. What the family needs of this frame:
//!
//! | need | where it lives |
//! |---|---|
//! | average before the keys (MoCo) / after the step (BYOL, DINO) | `loss` / `after_update` |
//! | memory bank rows by image (InstDisc, CMC) | [`Batch::indices`] |
//! | views of several sizes (SwAV, DINO), one view (MAE, InstDisc) | [`Batch::views`] |
//! | two networks (CMC), predictor (BYOL, SimSiam, MoCo v3) | fields visited by `student` |
//! | frozen or re-normalised parts (SwAV prototypes, patch projection) | `loss` / `student` |
//! | schedules of momentum and temperature | [`Step::progress`] |

mod moco;

pub use moco::Moco;

use crate::batch::Batch;
use crate::config::{MethodConfig, RunConfig};
use crate::models::Encoder;
use crate::nn::Module;
use burn::tensor::{Device, Tensor};

/// A self-supervised learning method with its whole state.
pub trait Method: Module {
    /// The loss of one batch, and values worth watching. Must leave the graph alive.
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput;

    /// What the optimiser trains.
    fn student(&mut self) -> &mut dyn Module;

    /// Called after the optimiser has moved [`Method::student`].
    fn after_update(&mut self, _step: &Step) {}

    /// The network that is evaluated and exported.
    fn encoder(&mut self) -> &mut Encoder;

    /// What the loss is expected to look like.
    fn expectation(&self) -> Expectation;
}

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Steps finished before this one.
    pub index: usize,
    /// Steps of the whole schedule.
    pub total: usize,
    /// The run's seed.
    pub seed: u64,
}

impl Step {
    /// Share of the schedule that is done, 0..1.
    pub fn progress(&self) -> f64 {
        self.index as f64 / self.total as f64
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
    /// Width of the normalised embeddings, whose healthy standard deviation is 1/sqrt of it.
    pub dim: usize,
    /// One or two sentences for the start of a run.
    pub advice: String,
}

/// Builds the method that a configuration names, with weights drawn from its seed.
///
/// `device` is the plain device; the trained networks are put on its autodiff side.
pub fn build(config: &RunConfig, device: &Device) -> Box<dyn Method> {
    match &config.method {
        MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => {
            Box::new(Moco::new(moco, &config.model, config.train.seed, device))
        }
    }
}
