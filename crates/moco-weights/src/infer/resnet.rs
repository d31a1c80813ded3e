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
    if mapped.shape("conv1.weight").is_none() && mapped.shape("conv1.0.weight").is_some() {
        return Err(mapped.unsupported("has a stem of several convolutions", PLAIN));
    }
    let [stem_width, in_channels, kernel, _] = mapped.needed("conv1.weight")?;
    let stem = match kernel {
        7 => ResNetStem::Imagenet,
        3 => ResNetStem::Cifar { padding: cifar_padding },
        _ => {
            let problem = format!("begins with a {kernel}x{kernel} convolution");
            return Err(mapped.unsupported(&problem, PLAIN));
        }
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
        projections: projections(mapped, &blocks),
        blocks,
        width,
        stem_width,
        stem,
        in_channels,
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

fn projections(mapped: &Mapped<'_>, blocks: &[usize]) -> Vec<Vec<bool>> {
    let has = |stage: usize, block: usize| {
        mapped.shape(&format!("layer{}.{block}.downsample.0.weight", stage + 1)).is_some()
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
    let kernel = if net.stem == ResNetStem::Imagenet { 7 } else { 3 };
    let stem = vec![net.stem_width, net.in_channels, kernel, kernel];
    shapes.insert("conv1.weight".to_owned(), stem);
    norm(&mut shapes, "bn1", net.stem_width);
    let mut inputs = net.stem_width;
    for (stage, &blocks) in net.blocks.iter().enumerate() {
        let (inner, outputs) = (net.width << stage, net.stage_outputs(stage));
        for block in 0..blocks {
            let at = format!("layer{}.{block}", stage + 1);
            let convolutions: &[(usize, usize, usize)] = match net.block {
                ResidualBlock::Basic => &[(inputs, inner, 3), (inner, inner, 3)],
                ResidualBlock::Bottleneck => {
                    &[(inputs, inner, 1), (inner, inner, 3), (inner, outputs, 1)]
                }
            };
            for (i, &(from, to, side)) in convolutions.iter().enumerate() {
                shapes.insert(format!("{at}.conv{}.weight", i + 1), vec![to, from, side, side]);
                norm(&mut shapes, &format!("{at}.bn{}", i + 1), to);
            }
            if net.projections[stage][block] {
                let shape = vec![outputs, inputs, 1, 1];
                shapes.insert(format!("{at}.downsample.0.weight"), shape);
                norm(&mut shapes, &format!("{at}.downsample.1"), outputs);
            } else if inputs != outputs {
                // A block that changes its width cannot do without.
                shapes.insert(format!("{at}.downsample.0.weight"), vec![outputs, inputs, 1, 1]);
            }
            inputs = outputs;
        }
    }
    shapes
}

fn norm(shapes: &mut BTreeMap<String, Vec<usize>>, at: &str, width: usize) {
    for tensor in ["weight", "bias", "running_mean", "running_var"] {
        shapes.insert(format!("{at}.{tensor}"), vec![width]);
    }
}
