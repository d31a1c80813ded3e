//! From what a file's tensors say of a network to our own description of it.

use super::{ImportError, Network, channels};
use crate::config::{ConvInit, MlpKind, NormKind, StemKind};
use crate::models::vit::{PatchStem, Pool, Positions, VitInit};
use crate::models::{Architecture, ResNetShape, VitConfig};
use moco_weights::{
    self as weights, FinalNorm, Interpolation, Named, ResNetStem, ResidualBlock, Weights,
};

/// Of the images that are read.
const CHANNELS: usize = 3;

/// What the weights make.
pub(super) fn network(file: &Weights) -> Result<Network, ImportError> {
    let unsupported = |problem: String| ImportError::Unsupported {
        file: file.report.file.display().to_string(),
        problem,
    };
    let resnet = |net: &weights::ResNet| resnet(net).map(Architecture::ResNet).map_err(unsupported);
    match &file.architecture {
        weights::Architecture::ResNet(net) => Ok(Network::Single(resnet(net)?)),
        weights::Architecture::Vit(net) => {
            Ok(Network::Single(Architecture::Vit(vit(net).map_err(unsupported)?)))
        }
        weights::Architecture::Pair { luma, chroma } => {
            Ok(Network::Split { luma: resnet(luma)?, chroma: resnet(chroma)? })
        }
    }
}

/// Names of the layers that see the image, as the end of a tensor's name.
const FIRST_LAYERS: [&str; 4] =
    ["patch_embed.proj.weight", "patch_embed.proj.0.weight", "conv1.weight", "conv1.0.weight"];

/// Whether a tensor of a backbone is the weight of the layer that sees the image.
pub(super) fn is_first_layer(name: &str) -> bool {
    let name = name.strip_prefix("luma.").or(name.strip_prefix("chroma.")).unwrap_or(name);
    FIRST_LAYERS.contains(&name)
}

/// The backbone's tensors under the names of our modules, the first layer for images of three
/// channels; a pair's first layers stay as they are.
pub(super) fn tensors(file: &Weights) -> Named {
    let mut tensors = file.backbone.clone();
    if let weights::Architecture::Pair { .. } = &file.architecture {
        return tensors;
    }
    for (name, weight) in &mut tensors {
        if is_first_layer(name) && weight.shape[1] != CHANNELS {
            *weight = channels::adapted(weight, CHANNELS);
        }
    }
    // 1x1 convolutions of one position are layers.
    for (name, weight) in &mut tensors {
        if name.contains(".select.fc") {
            weight.shape.truncate(2);
        }
    }
    // A class token is its own mean: where its LayerNorm comes after pooling, it might as well come
    // before.
    if let weights::Architecture::Vit(net) = &file.architecture
        && (net.pool, net.final_norm) == (weights::Pool::Class, FinalNorm::AfterPool)
    {
        for part in ["weight", "bias"] {
            if let Some(values) = tensors.remove(&format!("fc_norm.{part}")) {
                tensors.insert(format!("norm.{part}"), values);
            }
        }
    }
    tensors
}

fn resnet(net: &weights::ResNet) -> Result<ResNetShape, String> {
    if !(1..=4).contains(&net.blocks.len()) {
        return Err(format!("has {} stages of residual blocks", net.blocks.len()));
    }
    let (stem, padding) = match net.stem {
        ResNetStem::Imagenet => (StemKind::Imagenet, 0),
        ResNetStem::Deep => (StemKind::Deep, 0),
        ResNetStem::Cifar { padding } if padding >= 1 => (StemKind::Cifar, padding - 1),
        ResNetStem::Cifar { .. } => return Err("has a first layer without padding".to_owned()),
    };
    let shape = ResNetShape {
        bottleneck: net.block == ResidualBlock::Bottleneck,
        blocks: net.blocks.clone(),
        width: net.width,
        stem,
        stem_width: net.stem_width,
        stem_padding: padding,
        first_projection: net.projections.first().and_then(|stage| stage.first()) == Some(&true),
        average_skips: net.selective,
        sk_ratio: net.selective.then_some(weights::ResNet::SELECTION.0),
        norm: NormKind::Batch,
        zero_init_residual: false,
        bn_groups: 1,
        // The weights come from the file, and no layer is made for a size.
        init: ConvInit::FanOut,
        image: [0; 2],
    };
    let usual = |stage: usize, block: usize| block == 0 && (stage > 0 || shape.first_projection);
    let mut blocks = net.projections.iter().enumerate().flat_map(|(stage, blocks)| {
        blocks.iter().enumerate().map(move |(block, has)| (stage, block, *has))
    });
    match blocks.find(|&(stage, block, has)| has != usual(stage, block)) {
        Some((stage, block, true)) => {
            Err(format!("has a projection in the skip connection of layer{}.{block}", stage + 1))
        }
        Some((stage, block, false)) => {
            Err(format!("has no projection in the skip connection of layer{}.{block}", stage + 1))
        }
        None => Ok(shape),
    }
}

fn vit(net: &weights::Vit) -> Result<VitConfig, String> {
    let [patch, other] = net.patch;
    if patch != other {
        return Err(format!("has patches of {patch}x{other} pixels, which are not square"));
    }
    let (position_nudge, antialias_positions) = match net.interpolation {
        Interpolation::Bicubic => (0.0, false),
        Interpolation::BicubicNudged { nudge } => (nudge, false),
        Interpolation::BicubicAntialias => (0.0, true),
    };
    let config = VitConfig {
        channels: CHANNELS,
        hidden: net.mlp_hidden,
        mlp: match net.mlp {
            weights::Mlp::Gelu => MlpKind::Gelu,
            weights::Mlp::SwiGlu => MlpKind::Swiglu,
        },
        qkv_bias: net.qkv_bias,
        class_token: net.class_token,
        registers: net.registers,
        // The values come from the file.
        layer_scale: net.layer_scale.then_some(1.0),
        norm_epsilon: net.norm_eps,
        pool: match (net.pool, net.final_norm) {
            (weights::Pool::Class, _) => Pool::Class,
            (weights::Pool::Mean, FinalNorm::BeforePool) => Pool::Mean,
            (weights::Pool::Mean, FinalNorm::AfterPool) => Pool::MeanBeforeNorm,
        },
        positions: match net.positions {
            weights::Positions::Learned => Positions::Learned,
            weights::Positions::SincosRowFirst => Positions::SincosRowFirst,
            weights::Positions::SincosColumnFirst => Positions::SincosColumnFirst,
        },
        class_position: net.class_position,
        antialias_positions,
        position_nudge,
        stem: match net.stem {
            weights::PatchStem::Linear => PatchStem::Linear,
            weights::PatchStem::Conv => PatchStem::Conv,
        },
        init: VitInit::Normal,
        ..VitConfig::of_size([net.width, net.depth, net.heads], patch, net.image())
    };
    config.check().map_err(|error| format!("cannot be built ({error})"))?;
    Ok(config)
}
