//! The forward pass of a block.

use super::{Block, BlockLayer, BlockOutput, BlockSaved, Statistics};
use crate::Isa;
use crate::conv::bn_act::{BnActSaved, convolve};
use crate::conv::source::Input;
use crate::norm::Skip;

pub(super) fn run(isa: Isa, x: &[f32], block: &Block, keep: bool) -> BlockOutput {
    let mut statistics = Vec::new();
    let mut layers: Vec<BnActSaved> = Vec::new();
    for layer in block.layers {
        let input = layers.last().map_or(x.into(), BnActSaved::as_input);
        let saved = layer_forward(isa, layer, block, input, &mut statistics);
        if let (false, Some(read)) = (keep, layers.last_mut()) {
            read.discard_maps();
        }
        layers.push(saved);
    }
    let projection = block.projection.as_ref().map(|layer| {
        let mut saved = layer_forward(isa, layer, block, x.into(), &mut statistics);
        saved.relu = false;
        saved
    });
    let skip = projection.as_ref().map_or(Skip::Maps(x), BnActSaved::as_skip);
    let last = layers.last_mut().expect("a block has a layer");
    last.has_skip = true;
    let out = last.normalised(isa, &block.last().shape, Some(skip), keep);
    layers.extend(projection);
    BlockOutput { out, statistics, saved: keep.then_some(BlockSaved { layers }) }
}

fn layer_forward(
    isa: Isa,
    layer: &BlockLayer,
    block: &Block,
    x: Input,
    statistics: &mut Vec<Statistics>,
) -> BnActSaved {
    let affine = [layer.gamma, layer.beta];
    let (saved, var) =
        convolve(isa, &layer.shape, block.over(), x, layer.weight.into(), affine, block.eps);
    statistics.push(Statistics { mean: saved.mean().to_vec(), var });
    saved
}
