//! What an import gives.

use crate::architecture::Architecture;
use crate::layout::LayoutName;
use crate::report::Report;
use crate::tensor::Named;
use std::collections::BTreeMap;

/// A backbone of a file, under our names, and what is known of it.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The file's layout.
    pub layout: LayoutName,
    /// Which of the file's networks this is, such as `teacher`; empty where there is one only.
    pub part: String,
    /// What the backbone is.
    pub architecture: Architecture,
    /// The backbone's tensors, complete and of the right shapes: torchvision's names or timm's
    /// without any beginning, running statistics included, counters of batches left out.
    pub backbone: Named,
    /// Heads that fit ours, under our names: [`Section`] to tensors.
    pub heads: BTreeMap<Section, Named>,
    /// What the network takes for an image.
    pub input: Input,
    /// What is done to an image before it is encoded, in the words of moco-data's `View`, where a file
    /// of ours says it.
    pub view: Option<String>,
    /// Under which licence the weights are that this layout's authors publish, or that a run of ours
    /// began with, where it is known.
    pub licence: Option<String>,
    /// What was read, left and not found.
    pub report: Report,
}

/// Parts of a method that may start from a file, beside its backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The projection head on the backbone: `0.weight`, `0.norm.running_mean`, `1.bias` as our
    /// perceptrons have them, `layers.0.weight` and `last_layer.weight_v` as DINO's head has them.
    Head,
    /// The head of the pair's second network (CMC's ab); [`Section::Head`] is the first's.
    SecondHead,
    /// The predictor on the head.
    Predictor,
    /// SwAV's prototypes: `weight`.
    Prototypes,
    /// MAE's decoder: `embed.weight`, `mask_token`, `blocks.0.norm1.weight`, ...
    Decoder,
}

/// What a network takes for an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// `(level / 255 - mean) / std` of red, green and blue.
    Rgb {
        /// Mean of each channel.
        mean: [f32; 3],
        /// Standard deviation of each channel.
        std: [f32; 3],
    },
    /// `(value - mean) / std` of L, a and b, where L is in 0..=100.
    Lab {
        /// Mean of each channel.
        mean: [f32; 3],
        /// Standard deviation of each channel.
        std: [f32; 3],
    },
}

/// The usual statistics of ImageNet.
pub const IMAGENET: Input = Input::Rgb { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/// Levels in 0..=1 as they are: SimCLR.
pub const UNIT: Input = Input::Rgb { mean: [0.0; 3], std: [1.0; 3] };

/// What the caller says of a file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The layout, instead of one told from the keys.
    pub layout: Option<LayoutName>,
    /// Which network of several, such as `student`; see [`LayoutName::parts`].
    pub part: Option<String>,
    /// Attention heads of a transformer, instead of those of a table.
    pub heads: Option<usize>,
    /// Padding of a residual network's 3x3 stem, which no tensor tells, instead of the layout's: 1, and
    /// 2 in solo-learn.
    pub stem_padding: Option<usize>,
}
