//! Residual networks.

use super::Mapped;
use crate::architecture::{ResNet, ResNetStem, ResidualBlock};
use crate::error::Result;
use std::collections::BTreeMap;

/// Most blocks of a stage and most stages, far above those of any network.
const MOST: usize = 512;

/// Tells a residual network from its tensors, with so many zeros around the image in a CIFAR stem,
/// and checks that it is whole.
pub(crate) fn infer(mapped: &Mapped<'_>, cifar_padding: usize, stages: Stages) -> Result<ResNet> {
    let deep = mapped.shape("conv1.weight").is_none() && mapped.shape("conv1.0.weight").is_some();
    let selective = deep && mapped.shape("layer1.0.select.fc1.weight").is_some();
    if deep && !selective {
        return Err(mapped.unsupported("has a stem of several convolutions", PLAIN));
    }
    let (stem, stem_width, in_channels) = match selective {
        true => deep_stem(mapped)?,
        false => stem(mapped, cifar_padding)?,
    };
    let count = match stages {
        Stages::Four => 4,
        Stages::Any => (1..=4).rev().find(|n| mapped.count(&format!("layer{n}.")) > 0).unwrap_or(1),
    };
    let blocks: Vec<usize> = (1..=count).map(|n| mapped.count(&format!("layer{n}."))).collect();
    if let Some(empty) = blocks.iter().position(|&blocks| blocks == 0) {
        return Err(mapped.incomplete(&[format!("layer{}.0.conv1.weight", empty + 1)]));
    }
    if blocks.iter().any(|&blocks| blocks > MOST) {
        return Err(mapped.unsupported("has hundreds of blocks in a stage", PLAIN));
    }
    let bottleneck = mapped.shape("layer1.0.conv3.weight").is_some();
    let [width, ..] = mapped.needed::<4>("layer1.0.conv1.weight")?;
    let net = ResNet {
        block: if bottleneck { ResidualBlock::Bottleneck } else { ResidualBlock::Basic },
        projections: projections(mapped, &blocks, selective),
        blocks,
        width,
        stem_width,
        stem,
        in_channels,
        selective,
    };
    if width == 0 || width > 1 << 20 {
        return Err(mapped.unsupported("has no channels, or millions", PLAIN));
    }
    refuse_kin(mapped, &net)?;
    mapped.check(&expected(&net))?;
    Ok(net)
}

/// How many stages a network has to have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stages {
    /// Four, as in all published networks.
    Four,
    /// Those that there are.
    Any,
}

const PLAIN: &str = "give weights of a plain ResNet of basic blocks or bottlenecks";

/// The first layers, their channels, and those of the image.
fn stem(mapped: &Mapped<'_>, cifar_padding: usize) -> Result<(ResNetStem, usize, usize)> {
    let [width, channels, kernel, _] = mapped.needed("conv1.weight")?;
    let stem = match kernel {
        7 => ResNetStem::Imagenet,
        3 => ResNetStem::Cifar { padding: cifar_padding },
        _ => {
            let problem = format!("begins with a {kernel}x{kernel} convolution");
            return Err(mapped.unsupported(&problem, PLAIN));
        }
    };
    Ok((stem, width, channels))
}

/// As [`stem`], of three convolutions.
fn deep_stem(mapped: &Mapped<'_>) -> Result<(ResNetStem, usize, usize)> {
    let [_, channels, ..] = mapped.needed::<4>("conv1.0.weight")?;
    let [width, ..] = mapped.needed::<4>("conv1.6.weight")?;
    Ok((ResNetStem::Deep, width, channels))
}

fn projections(mapped: &Mapped<'_>, blocks: &[usize], selective: bool) -> Vec<Vec<bool>> {
    let convolution = if selective { 1 } else { 0 };
    let has = |stage: usize, block: usize| {
        let name = format!("layer{}.{block}.downsample.{convolution}.weight", stage + 1);
        mapped.shape(&name).is_some()
    };
    let stage = |(stage, &blocks): (usize, &usize)| (0..blocks).map(|b| has(stage, b)).collect();
    blocks.iter().enumerate().map(stage).collect()
}

/// Refuses networks that share the names of a ResNet's tensors and are none.
fn refuse_kin(mapped: &Mapped<'_>, net: &ResNet) -> Result<()> {
    if net.block == ResidualBlock::Basic {
        return Ok(());
    }
    let [_, inner, ..] = mapped.needed::<4>("layer1.0.conv2.weight")?;
    let [outputs, ..] = mapped.needed::<4>("layer1.0.conv3.weight")?;
    if inner != net.width {
        return Err(mapped.unsupported("has grouped convolutions (a ResNeXt)", PLAIN));
    }
    if outputs != 4 * net.width {
        let problem = format!(
            "has bottlenecks of {} channels with {outputs} outputs (a wide ResNet)",
            net.width
        );
        return Err(mapped.unsupported(&problem, PLAIN));
    }
    Ok(())
}

/// The tensors of a network and their shapes.
pub(crate) fn expected(net: &ResNet) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    stem_shapes(&mut shapes, net);
    norm(&mut shapes, "bn1", net.stem_width);
    let kernels = if net.selective { 2 } else { 1 };
    // An average is a layer without weights.
    let skip = if net.selective { [1, 2] } else { [0, 1] };
    let mut inputs = net.stem_width;
    for (stage, &blocks) in net.blocks.iter().enumerate() {
        let (inner, outputs) = (net.width << stage, net.stage_outputs(stage));
        for block in 0..blocks {
            let at = format!("layer{}.{block}", stage + 1);
            let convolutions: &[(usize, usize, usize)] = match net.block {
                ResidualBlock::Basic => &[(inputs, inner, 3), (inner, inner, 3)],
                ResidualBlock::Bottleneck => {
                    &[(inputs, inner, 1), (inner, kernels * inner, 3), (inner, outputs, 1)]
                }
            };
            for (i, &(from, to, side)) in convolutions.iter().enumerate() {
                shapes.insert(format!("{at}.conv{}.weight", i + 1), vec![to, from, side, side]);
                norm(&mut shapes, &format!("{at}.bn{}", i + 1), to);
            }
            if net.selective {
                let (at, hidden) = (format!("{at}.select"), net.selection(stage));
                shapes.insert(format!("{at}.fc1.weight"), vec![hidden, inner, 1, 1]);
                norm(&mut shapes, &format!("{at}.bn"), hidden);
                shapes.insert(format!("{at}.fc2.weight"), vec![2 * inner, hidden, 1, 1]);
            }
            let [convolution, normed] = skip.map(|i| format!("{at}.downsample.{i}"));
            if net.projections[stage][block] {
                let shape = vec![outputs, inputs, 1, 1];
                shapes.insert(format!("{convolution}.weight"), shape);
                norm(&mut shapes, &normed, outputs);
            } else if inputs != outputs {
                // A block that changes its width cannot do without.
                shapes.insert(format!("{convolution}.weight"), vec![outputs, inputs, 1, 1]);
            }
            inputs = outputs;
        }
    }
    shapes
}

fn stem_shapes(shapes: &mut BTreeMap<String, Vec<usize>>, net: &ResNet) {
    let (width, channels) = (net.stem_width, net.in_channels);
    let mut convolution = |name: &str, shape: [usize; 3]| {
        let [outputs, inputs, kernel] = shape;
        shapes.insert(format!("{name}.weight"), vec![outputs, inputs, kernel, kernel]);
    };
    match net.stem {
        ResNetStem::Imagenet => convolution("conv1", [width, channels, 7]),
        ResNetStem::Cifar { .. } => convolution("conv1", [width, channels, 3]),
        ResNetStem::Deep => {
            let half = width / 2;
            convolution("conv1.0", [half, channels, 3]);
            convolution("conv1.3", [half, half, 3]);
            convolution("conv1.6", [width, half, 3]);
            norm(shapes, "conv1.1", half);
            norm(shapes, "conv1.4", half);
        }
    }
}

fn norm(shapes: &mut BTreeMap<String, Vec<usize>>, at: &str, width: usize) {
    for tensor in ["weight", "bias", "running_mean", "running_var"] {
        shapes.insert(format!("{at}.{tensor}"), vec![width]);
    }
}
