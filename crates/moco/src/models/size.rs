//! How many weights a network has, from its specification alone.
//!
//! Counted are the weight matrices. Biases, normalisations, tokens and positions, which are a few
//! percent, are left out: the numbers are lower bounds, and no size overflows them.

use super::backbone::Architecture;
use super::resnet::ResNetShape;
use super::vit::{PatchStem, VitConfig};
use crate::config::{MlpKind, StemKind};

impl Architecture {
    /// Weights of a backbone for images of `channels` channels.
    pub fn weights(&self, channels: usize) -> f64 {
        match self {
            Architecture::ResNet(resnet) => resnet_weights(resnet, channels),
            Architecture::Vit(vit) => vit_weights(vit),
        }
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        match self {
            Architecture::ResNet(resnet) => resnet.features(),
            Architecture::Vit(vit) => vit.width,
        }
    }
}

fn resnet_weights(shape: &ResNetShape, channels: usize) -> f64 {
    let (channels, mut inputs) = (channels as f64, shape.stem_width as f64);
    let mut weights = match shape.stem {
        StemKind::Imagenet => 49.0 * channels * inputs,
        StemKind::Cifar => 9.0 * channels * inputs,
        StemKind::Deep => 4.5 * (channels + 1.5 * inputs) * inputs,
    };
    for (stage, &blocks) in shape.blocks.iter().enumerate() {
        let width = shape.width as f64 * f64::from(1 << stage);
        let outputs = width * shape.widening() as f64;
        // Selective kernels: two 3x3 convolutions, and three times the width of each hidden channel.
        let hidden = shape.selection(shape.width << stage).map(|hidden| hidden as f64);
        let (kernels, selection) = match hidden {
            Some(hidden) => (2.0, 3.0 * hidden * width),
            None => (1.0, 0.0),
        };
        for block in 0..blocks {
            weights += match shape.bottleneck {
                true => {
                    inputs * width + 9.0 * kernels * width * width + selection + width * outputs
                }
                false => 9.0 * (inputs + width) * width,
            };
            if block == 0 && (stage > 0 || inputs != outputs || shape.first_projection) {
                weights += inputs * outputs;
            }
            inputs = outputs;
        }
    }
    weights
}

fn vit_weights(config: &VitConfig) -> f64 {
    let (width, patch) = (config.width as f64, config.patch as f64);
    let stem = match config.stem {
        PatchStem::Linear | PatchStem::FrozenLinear => {
            config.channels as f64 * patch * patch * width
        }
        // The last halving's convolution, and the projection behind it; those before are small.
        PatchStem::Conv => 4.5 * width * width + width * width,
    };
    let matrices = if config.mlp == MlpKind::Swiglu { 3 } else { 2 };
    stem + blocks_weights(config.width, config.depth, matrices * config.hidden)
}

/// Weights of so many transformer blocks: query, key, value, projection, and the layers of the
/// perceptron, which have so many `hidden` channels together.
pub fn blocks_weights(width: usize, depth: usize, hidden: usize) -> f64 {
    let width = width as f64;
    depth as f64 * (4.0 * width + hidden as f64) * width
}
