//! What determines a residual network.

use crate::config::{ConvInit, NormKind, ResNetConfig, StemKind};
use serde::{Deserialize, Serialize};

/// What determines a residual network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetShape {
    /// Blocks of 1x1, 3x3 and 1x1 convolutions with a fourfold wider output; otherwise two of 3x3.
    pub bottleneck: bool,
    /// Blocks of each stage, 1 to 4 stages.
    pub blocks: Vec<usize>,
    /// Channels of the first stage's 3x3 convolutions; each further stage has twice as many.
    pub width: usize,
    /// First layers.
    pub stem: StemKind,
    /// Channels of the first layer; in [`StemKind::Deep`] of the last of the three.
    pub stem_width: usize,
    /// Zeros beyond each border that the first layer sees besides the usual ones, which keep the
    /// size at stride 1.
    pub stem_padding: usize,
    /// Whether the first stage's first skip connection is projected even if its shape stays.
    pub first_projection: bool,
    /// Whether a projected skip connection is averaged before it is projected, see
    /// [`ResNetConfig::average_skips`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub average_skips: bool,
    /// Selective kernels in the bottlenecks, see [`ResNetConfig::sk_ratio`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sk_ratio: Option<f64>,
    /// Normalisation after each convolution.
    pub norm: NormKind,
    /// Start every residual branch at zero.
    pub zero_init_residual: bool,
    /// BatchNorm groups, see [`crate::nn::BatchNorm::new`].
    pub bn_groups: usize,
    /// How the convolutions' weights are drawn.
    #[serde(default)]
    pub init: ConvInit,
    /// Height and width of the images, which [`NormKind::Map`] is made for.
    #[serde(default)]
    pub image: [usize; 2],
}

/// The names that [`ResNetShape::named`] knows: blocks of each stage, and whether they are
/// bottlenecks.
const NAMED: [(&str, [usize; 4], bool); 6] = [
    ("resnet18", [2, 2, 2, 2], false),
    ("resnet34", [3, 4, 6, 3], false),
    ("resnet50", [3, 4, 6, 3], true),
    ("resnet101", [3, 4, 23, 3], true),
    ("resnet152", [3, 8, 36, 3], true),
    ("resnet200", [3, 24, 36, 3], true),
];

impl ResNetShape {
    /// The network of a name with a run's choices, for images of any size; `None` if there is no network of that name.
    pub fn named(name: &str, config: &ResNetConfig) -> Option<Self> {
        let (_, blocks, bottleneck) = NAMED.into_iter().find(|(known, ..)| *known == name)?;
        let blocks = config.blocks.clone().unwrap_or_else(|| blocks.to_vec());
        Some(Self {
            bottleneck,
            blocks: blocks.into_iter().take(config.stages).collect(),
            width: config.width,
            stem: config.stem,
            stem_width: config.stem_width.unwrap_or(config.width),
            stem_padding: 0,
            first_projection: config.first_projection.unwrap_or(false),
            average_skips: config.average_skips.unwrap_or(false),
            sk_ratio: config.sk_ratio,
            norm: config.norm,
            zero_init_residual: config.zero_init_residual,
            bn_groups: config.bn_groups,
            init: config.init,
            image: [0; 2],
        })
    }

    /// Blocks of the stages of the network of a name.
    pub fn blocks_of(name: &str) -> Option<[usize; 4]> {
        NAMED.into_iter().find(|(known, ..)| *known == name).map(|(_, blocks, _)| blocks)
    }

    /// Output channels of a block as a multiple of its width.
    pub(in crate::models) fn widening(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    /// Hidden channels of the layers that weigh the two kernels of a block of this width.
    pub(in crate::models) fn selection(&self, width: usize) -> Option<usize> {
        self.sk_ratio.map(|ratio| ((width as f64 * ratio) as usize).max(LEAST_SELECTION))
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        (self.widening() * self.width) << (self.blocks.len() - 1)
    }
}

/// Hidden channels of a selection at least: the reference's `min_dim`.
const LEAST_SELECTION: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConvInit, NormKind, ResNetConfig, StemKind};

    /// `max(int(filters * sk_ratio), 32)` of the reference, for the widths of ResNet-152 of three times
    /// the width and others.
    #[test]
    fn selections_are_as_wide_as_published() {
        let config = ResNetConfig {
            width: 64,
            stem: StemKind::Deep,
            stages: 4,
            norm: NormKind::Batch,
            init: ConvInit::FanOut,
            zero_init_residual: true,
            bn_groups: 1,
            stem_width: None,
            blocks: None,
            first_projection: Some(true),
            average_skips: Some(true),
            sk_ratio: Some(0.0625),
        };
        let shape = ResNetShape::named("resnet50", &config).expect("a known name");
        for (width, hidden) in [(64, 32), (512, 32), (520, 32), (768, 48), (1024, 64), (1536, 96)] {
            assert_eq!(shape.selection(width), Some(hidden));
        }
        assert_eq!(ResNetShape { sk_ratio: None, ..shape }.selection(64), None);
    }
}
