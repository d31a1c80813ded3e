//! How many weights a network has, from its specification alone.
//!
//! Counted are the weight matrices. Biases, normalisations, tokens and positions, which are a few
//! percent, are left out: the numbers are lower bounds, and no size overflows them.

use super::backbone::Architecture;
use super::resnet::depth_of;
use super::vit::{PatchStem, VitConfig};
use crate::config::{ResNetConfig, StemKind};

impl Architecture {
    /// Weights of a backbone for images of `channels` channels.
    pub fn weights(&self, channels: usize) -> f64 {
        match self {
            Architecture::ResNet(name, resnet) => resnet_weights(name, resnet, channels),
            Architecture::Vit(vit) => vit_weights(vit),
        }
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        match self {
            Architecture::ResNet(name, resnet) => {
                let widening = depth_of(name).map_or(1, |depth| depth.widening());
                (widening * resnet.width) << (resnet.stages - 1)
            }
            Architecture::Vit(vit) => vit.width,
        }
    }
}

fn resnet_weights(name: &str, config: &ResNetConfig, channels: usize) -> f64 {
    let Some(depth) = depth_of(name) else { return 0.0 };
    let kernel = if config.stem == StemKind::Imagenet { 49.0 } else { 9.0 };
    let mut weights = kernel * channels as f64 * config.width as f64;
    let mut inputs = config.width as f64;
    for (stage, blocks) in depth.blocks.into_iter().enumerate().take(config.stages) {
        let width = config.width as f64 * f64::from(1 << stage);
        let outputs = width * depth.widening() as f64;
        for block in 0..blocks {
            weights += match depth.bottleneck {
                true => inputs * width + 9.0 * width * width + width * outputs,
                false => 9.0 * (inputs + width) * width,
            };
            if block == 0 && (stage > 0 || inputs != outputs) {
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
        PatchStem::Linear | PatchStem::FrozenLinear => 3.0 * patch * patch * width,
        // The last halving's convolution, and the projection behind it; those before are small.
        PatchStem::Conv => 4.5 * width * width + width * width,
    };
    stem + blocks_weights(config.width, config.depth, config.mlp_ratio)
}

/// Weights of so many transformer blocks: query, key, value, projection, and the two layers of the
/// perceptron.
pub fn blocks_weights(width: usize, depth: usize, mlp_ratio: usize) -> f64 {
    let width = width as f64;
    depth as f64 * (4.0 + 2.0 * mlp_ratio as f64) * width * width
}
