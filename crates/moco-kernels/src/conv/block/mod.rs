//! A residual block as one operation with one backward.
//!
//! ```text
//!   x ─┬─► conv ─► y₁ ─► conv ─► y₂ ... ─► conv ─► y ─► BatchNorm ─► (+) ─► ReLU ─► out
//!      │            └ BatchNorm and ReLU as it is read                ▲
//!      └──── itself, or conv ─► y ─► BatchNorm as it is added ────────┘
//! ```
//! The result is that of its layers one by one, bit for bit, with less memory touched: the maps
//! between its convolutions and those of the projection are read as BatchNorm would leave them
//! but never written, and of the gradient of `x` the share of the first convolution is added to the
//! share of the skip where that lies.

mod backward;
mod forward;

use super::ConvShape;
use super::bn_act::{BnActSaved, Over};
use crate::Isa;
use crate::norm::Processes;
use std::sync::Arc;

/// A convolution and the BatchNorm behind it.
#[derive(Clone, Copy, Debug)]
pub struct BlockLayer<'a> {
    /// Sizes of the convolution.
    pub shape: ConvShape,
    /// `[cout, cin, k, k]`
    pub weight: &'a [f32],
    /// BatchNorm's scale, `[cout]`.
    pub gamma: &'a [f32],
    /// BatchNorm's shift, `[cout]`.
    pub beta: &'a [f32],
}

/// A residual block in training: He et al. 2016 (arXiv 1512.03385), Fig. 2 and 5.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// From `x` to the addition, at least one. Behind each but the last there is a ReLU.
    pub layers: &'a [BlockLayer<'a>],
    /// From `x` to the addition; without it `x` itself is added.
    pub projection: Option<BlockLayer<'a>>,
    /// BatchNorm groups: image `i` belongs to group `i % groups`.
    pub groups: usize,
    /// Who has the other parts of the batch, which is one group then.
    pub others: Option<&'a Arc<dyn Processes>>,
    /// Added to the variances.
    pub eps: f32,
}

/// Of one BatchNorm, `[groups, cout]` each.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// The batch means.
    pub mean: Vec<f32>,
    /// The biased batch variances.
    pub var: Vec<f32>,
}

/// What [`block_forward`] returns.
#[derive(Debug)]
pub struct BlockOutput {
    /// Of the last layer's output shape.
    pub out: Vec<f32>,
    /// Of each layer, and of the projection last.
    pub statistics: Vec<Statistics>,
    /// What backward needs, when asked to keep it.
    pub saved: Option<BlockSaved>,
}

/// What backward needs of a forward, besides `x`, the weights and the output.
#[derive(Clone, Debug)]
pub struct BlockSaved {
    /// Of each layer, and of the projection last.
    layers: Vec<BnActSaved>,
}

/// Which gradients [`block_backward`] computes. Nothing is spent on the others, but for those of
/// maps that others depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockNeeds {
    /// The input's.
    pub x: bool,
    /// The gradients of the weights of all convolutions.
    pub weights: bool,
    /// The gradients of `gamma` and `beta` of all BatchNorms.
    pub affine: bool,
}

/// The gradients that were asked for.
#[derive(Debug)]
pub struct BlockGrads {
    /// Of the first layer's input shape.
    pub x: Option<Vec<f32>>,
    /// Of each layer, and of the projection last.
    pub layers: Vec<LayerGrads>,
}

/// The gradients of one layer's parameters.
#[derive(Debug, Default)]
pub struct LayerGrads {
    /// `[cout, cin, k, k]`
    pub weight: Option<Vec<f32>>,
    /// `[cout]`
    pub gamma: Option<Vec<f32>>,
    /// `[cout]`
    pub beta: Option<Vec<f32>>,
}

/// `out = relu(bn(conv(... relu(bn(conv(x))))) + skip(x))`.
///
/// With `keep` the result carries what [`block_backward`] needs; without it less memory is touched.
/// The caller updates running statistics.
///
/// # Shapes
/// `x` `[n, h, w, cin]` of the first layer; returns `[n, out_h, out_w, cout]` of the last.
///
/// # Panics
/// When a slice does not have its shape's length, the layers do not fit each other, there is none,
/// or `groups` is zero.
pub fn block_forward(isa: Isa, x: &[f32], block: &Block, keep: bool) -> BlockOutput {
    check(x, block);
    forward::run(isa, x, block, keep)
}

/// The gradients of [`block_forward`] from that of its output.
///
/// `saved` is the forward's, `out` its output.
///
/// # Shapes
/// `x` as in the forward; `out` and `d_out` of the output's shape.
///
/// # Panics
/// As [`block_forward`].
pub fn block_backward(
    isa: Isa,
    x: &[f32],
    block: &Block,
    saved: &BlockSaved,
    out: &[f32],
    d_out: &[f32],
    needs: BlockNeeds,
) -> BlockGrads {
    check(x, block);
    let shape = block.last().shape;
    assert_eq!(d_out.len(), shape.out_len(), "d_out is [n, out_h, out_w, cout] of {shape:?}");
    backward::Backward { isa, x, block, saved, needs }.run(out, d_out)
}

impl Block<'_> {
    fn over(&self) -> Over<'_> {
        Over { groups: self.groups, others: self.others }
    }

    fn last(&self) -> &BlockLayer<'_> {
        self.layers.last().expect("a block has a layer")
    }
}

fn check(x: &[f32], block: &Block) {
    assert!(block.groups > 0, "split BatchNorm needs at least one group");
    assert!(block.others.is_none() || block.groups == 1, "processes share one group");
    let (first, last) = (block.layers[0].shape, block.last().shape);
    assert_eq!(x.len(), first.x_len(), "x is [n, h, w, cin] of {first:?}");
    for layer in block.layers.iter().chain(&block.projection) {
        let cout = layer.shape.cout;
        assert_eq!(layer.gamma.len(), cout, "gamma has one value per output channel");
        assert_eq!(layer.beta.len(), cout, "beta has one value per output channel");
    }
    for pair in block.layers.windows(2) {
        assert_eq!(outputs(&pair[0].shape), inputs(&pair[1].shape), "layers that fit each other");
    }
    let skip = match block.projection {
        Some(projection) => {
            assert_eq!(inputs(&projection.shape), inputs(&first), "the projection reads x");
            outputs(&projection.shape)
        }
        None => inputs(&first),
    };
    assert_eq!(outputs(&last), skip, "the skip has the shape of what it is added to");
}

fn inputs(shape: &ConvShape) -> [usize; 4] {
    [shape.n, shape.h, shape.w, shape.cin]
}

fn outputs(shape: &ConvShape) -> [usize; 4] {
    [shape.n, shape.out_h(), shape.out_w(), shape.cout]
}
