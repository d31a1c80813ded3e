//! What SimCLR v1 and v2 say of themselves.

use super::SimClr;
use crate::config::field::{MANY, POSITIVE, SHARE, WIDE, count, one_of};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, Field, HeadStart, OptimDefaults, ProbeOptimizer,
    Protocol, Readout, Refit, RunConfig, Scale,
};
use crate::methods::usual::{both, centred, check_others, is_small};
use crate::methods::{
    Card, Holds, Method, MethodSettings, Profile, Rows, Settled, Site, Spec, Width,
};
use crate::models::{Encode, NetworkSpec};
use crate::settings;
use moco_data::View;
use serde::{Deserialize, Serialize};
use toml::Table;

/// How SimCLR's loss is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Over all 2N views, as in the paper.
    Mean,
    /// Over the N images of each view, then added: twice the paper's, as in the reference code.
    Sum,
}

settings! {
    /// Settings of SimCLR v1 and v2; the two differ in their defaults only.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct SimClrConfig {
        /// Width of the compared vectors.
        pub dim: usize => WIDE,
        /// Layers of the projector: 2 in v1, 3 in v2.
        pub projector_layers: usize => count(1, 10),
        /// Softmax temperature, above 0.
        pub temperature: f64 => POSITIVE,
        /// How the loss is averaged.
        pub reduction: Reduction => one_of(&["mean", "sum"]),
        /// Keys of past batches that are further negatives, as in v2's paper; 0 for none, as in its code.
        pub memory: usize => count(0, MANY),
        /// Momentum of the moving average that makes those keys, 0..=1.
        pub momentum: f64 => SHARE,
    }
}

/// SimCLR, v1 or v2; the two differ in their defaults, and in what is fine-tuned.
pub struct SimClrSpec {
    v2: bool,
}

impl SimClrSpec {
    /// The first version.
    pub const V1: SimClrSpec = SimClrSpec { v2: false };
    /// The second, with a deeper projector.
    pub const V2: SimClrSpec = SimClrSpec { v2: true };
}

/// Inputs keep their range of 0 to 1.
const END: &str = "normalize(none)";

impl Spec for SimClrSpec {
    fn card(&self) -> Card {
        if self.v2 { V2 } else { V1 }
    }

    fn profile(&self) -> Profile {
        Profile { compares: true, ranks: true, ..Profile::PAIR }
    }

    fn fields(&self) -> &'static [Field] {
        SimClrConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        draft.fill("method.dim", 128, None);
        draft.fill("method.projector_layers", if self.v2 { 3 } else { 2 }, None);
        draft.fill("method.temperature", if scale.small() { 0.5 } else { 0.1 }, None);
        draft.fill("method.reduction", "sum", None);
        draft.fill("method.memory", 0, None);
        draft.fill("method.momentum", 0.999, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<SimClrConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults { zero_init_residual: true, ..BackboneDefaults::PLAIN }
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        let exact = Some(true);
        if scale.vit {
            let flavor = "inside";
            return OptimDefaults { flavor, accumulate_exact: exact, ..OptimDefaults::ADAMW };
        }
        OptimDefaults {
            lr: if scale.small() { 0.5 } else { 0.3 },
            weight_decay: 1e-4,
            flavor: "inside",
            accumulate_exact: exact,
            ..OptimDefaults::LARS
        }
    }

    /// The published code's own operations, and half their strength for CIFAR-10.
    fn views(&self, size: usize) -> Vec<String> {
        let (strengths, blur) = match is_small(size) {
            true => ("0.4,0.4,0.4,0.1", ""),
            false => ("0.8,0.8,0.8,0.2", "blur(0.1..2; taps=height/10; p=0.5) "),
        };
        both(format!(
            "crop({size}, 0.08..1, bicubic) flip jitter({strengths}; colors=tensorflow; p=0.8) \
             gray(p=0.2) {blur}{END}"
        ))
    }

    fn eval_view(&self, size: usize) -> String {
        centred(size, ", bicubic", END)
    }

    /// github.com/google-research/simclr, README, for CIFAR-10; ImageNet has 90 epochs of 4096 images
    /// at the same rate per image (arXiv 2002.05709, App. B.6).
    fn probe(&self, _: &NetworkSpec) -> Protocol {
        Protocol {
            optimizer: ProbeOptimizer::Nesterov,
            lr: 0.1,
            granularity: crate::config::Granularity::Step,
            batch_size: 512,
            head: HeadStart::ZERO,
            ..Protocol::cosine()
        }
    }

    /// v2 fine-tunes from the first layer of the projector (arXiv 2006.10029, Sec. 2.1).
    fn refit(&self) -> Refit {
        match self.v2 {
            true => Refit { readout: Readout::Projector, drop_path: 0.0 },
            false => Refit::NOTHING,
        }
    }
}

impl MethodSettings for SimClrConfig {
    fn check(&self, run: &RunConfig, _: &[View]) -> Result<(), ConfigError> {
        check_others(run)
    }

    fn has_batch_norm(&self) -> bool {
        true
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(SimClr::new(self, site.network, site.compared, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(SimClr::new_encoder(self, site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        let mut head = vec![features; self.projector_layers];
        head.push((self.dim, "method.dim"));
        Holds {
            head,
            teacher: self.memory > 0,
            rows: vec![Rows::queue("method.memory", self.memory, self.dim, 1.0)],
            ..Holds::default()
        }
    }
}

const V1: Card = Card {
    name: "simclr",
    paper: "Chen et al. 2020, arXiv 2002.05709",
    idea: "two views find each other among all views of a large batch",
    state: "nothing",
    batch: "the larger the better: 4096 as published, 512 on CIFAR-10",
};

const V2: Card = Card {
    name: "simclr-v2",
    paper: "Chen et al. 2020, arXiv 2006.10029",
    idea: "SimCLR with a projection head of three layers",
    state: "nothing, or a memory of past keys",
    batch: "the larger the better: 4096 as published",
};
