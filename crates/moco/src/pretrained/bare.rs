//! Networks without a head.

use super::{ImportError, Network, convert, fill};
use crate::config::FeatureKind;
use crate::models::{Backbone, Encode, NetworkSpec, Split, Vit};
use crate::nn::{Mode, Module};
use crate::rng::{self, Purpose};
use burn::tensor::{Device, Tensor, s};
use moco_weights::Weights;

/// A backbone alone.
struct Bare {
    backbone: Backbone,
}

crate::module!(Bare { backbone });

impl Encode for Bare {
    fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2> {
        self.backbone.embed(x, kind, mode)
    }

    fn width(&self, kind: FeatureKind) -> usize {
        self.backbone.width(kind)
    }

    fn has_head(&self) -> bool {
        false
    }

    fn backbone(&mut self) -> &mut dyn Module {
        &mut self.backbone
    }

    fn vit(&mut self) -> Option<&mut Vit> {
        self.backbone.vit()
    }
}

/// A backbone for the first channel and one for the other two; their features lie side by side.
struct BarePair {
    backbone: Split<Backbone>,
}

crate::module!(BarePair { backbone });

impl Encode for BarePair {
    fn embed(&mut self, x: Tensor<4>, _: FeatureKind, mode: Mode) -> Tensor<2> {
        let [luma, chroma] = [s![0..1], s![1..3]].map(|channels| x.clone().slice_dim(3, channels));
        let Split { luma: first, chroma: second } = &mut self.backbone;
        Tensor::cat(vec![first.forward(luma, mode), second.forward(chroma, mode)], 1)
    }

    fn width(&self, _: FeatureKind) -> usize {
        self.backbone.luma.features() + self.backbone.chroma.features()
    }

    fn has_head(&self) -> bool {
        false
    }

    fn backbone(&mut self) -> &mut dyn Module {
        &mut self.backbone
    }
}

/// The network of a description, its weights drawn at random.
///
/// # Panics
/// If it is a transformer that cannot be built; see [`super::Pretrained::new`].
pub fn network(network: &Network, device: &Device) -> Box<dyn Encode> {
    let backbone = |architecture: &_, channels| {
        let spec = NetworkSpec { architecture: Clone::clone(architecture), seed: 0 };
        Backbone::new(&spec, channels, &mut rng::stream(0, Purpose::Weights, 0), device)
    };
    match network {
        Network::Single(architecture) => Box::new(Bare { backbone: backbone(architecture, 3) }),
        Network::Split { luma, chroma } => {
            let backbone = Split { luma: backbone(luma, 1), chroma: backbone(chroma, 2) };
            Box::new(BarePair { backbone })
        }
    }
}

/// Gives the network of [`network`] its weights.
pub(super) fn fill(
    encoder: &mut dyn Encode,
    weights: &Weights,
    device: &Device,
) -> Result<(), ImportError> {
    let tensors = convert::tensors(weights);
    fill::whole(encoder.backbone(), &tensors, device).map_err(|reason| ImportError::Mismatch {
        file: weights.report.file.display().to_string(),
        network: "the architecture that their shapes say".to_owned(),
        reason,
    })
}
