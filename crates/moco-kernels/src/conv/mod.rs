//! Convolution in NHWC with OIHW weights, alone and fused with BatchNorm, residual addition and
//! ReLU.
//!
//! ```text
//!   x ──► conv ──► y ──► BatchNorm ──► (+ skip) ──► (ReLU) ──► out
//!          │              │ sums gathered while y leaves the registers
//!          └ weights packed, per call or once
//! ```
//! Any kernel side, stride, padding, map size, channel count and batch is exact: `gather` and
//! `weight` take every shape, `winograd` takes 3x3 at strides 1 and 2 where it is faster. The result
//! is the same, bit for bit, for any number of threads: how the work is cut depends on the shape
//! alone, and sums are added in a fixed order.
//!
//! Shape misuse (a slice that does not have the length its shape says) is a panic, documented with
//! each function.

mod block;
mod bn_act;
mod direct;
mod gather;
mod pack;
mod pooled;
mod prepared;
pub(crate) mod scalar;
pub(crate) mod shape;
pub(crate) mod sink;
mod source;
#[cfg(test)]
mod tests;
mod weight;
mod window;
mod winograd;

pub use block::{
    Block, BlockGrads, BlockLayer, BlockNeeds, BlockOutput, BlockSaved, LayerGrads, Statistics,
    block_backward, block_forward,
};
pub use bn_act::{
    BnActGrads, BnActNeeds, BnActOutput, BnActSaved, BnParams, Norm, conv_bn_act_backward,
    conv_bn_act_forward,
};
pub use pooled::conv_bn_relu_max_pool;
pub use prepared::PreparedConv;
pub use shape::ConvShape;

use crate::Isa;
use crate::gemm::{Sink, Target, plain};
use crate::threads::filled;
use gather::Gather;
use prepared::{Algorithm, prepared};
use sink::Affine;
use source::Input;
use winograd::{Kernels, Pass, WinogradForward};

/// `y = conv(x) + bias`.
///
/// # Shapes
/// `x` `[n, h, w, cin]`, `weight` `[cout, cin, k, k]`, `bias` `[cout]`; returns `[n, out_h, out_w,
/// cout]`.
///
/// # Panics
/// When a slice does not have its shape's length.
pub fn conv_forward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let isa = isa.for_channels(shape.cout);
    let prepared = prepared(isa, shape, weight.into());
    let forward = Forward::new(shape, 1, x.into(), weight, &prepared);
    // SAFETY: a forward puts every pixel and channel of the output.
    unsafe {
        filled(shape.out_len(), |out| {
            let target = Target::new(out, shape.cout);
            match bias {
                None => forward.run(isa, &forward.spans(), &plain(target)),
                Some(shift) => {
                    assert_eq!(shift.len(), shape.cout, "a bias has one value per output channel");
                    let scale = &vec![1.0; shape.cout];
                    let sink = Affine { target, scale, shift, skip: None, relu: false };
                    forward.run(isa, &forward.spans(), &sink);
                }
            }
        })
    }
}

/// `dx` from `dy`.
///
/// # Shapes
/// `dy` `[n, out_h, out_w, cout]`, `weight` `[cout, cin, k, k]`; returns `[n, h, w, cin]`.
///
/// # Panics
/// When a slice does not have its shape's length.
pub fn conv_data_grad(isa: Isa, shape: &ConvShape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    // SAFETY: the data gradient puts every pixel and channel of the input.
    unsafe {
        filled(shape.x_len(), |dx| {
            let dx = Target::new(dx, shape.cin);
            put_data_grad(isa, shape, dy, weight, &plain(dx));
        })
    }
}

/// Puts every pixel and channel of `dx`; where it is zero, to a sink that does not add.
fn put_data_grad(isa: Isa, shape: &ConvShape, dy: &[f32], weight: &[f32], sink: &impl Sink) {
    shape.check();
    assert_eq!(dy.len(), shape.out_len(), "dy is [n, out_h, out_w, cout] of {shape:?}");
    assert_eq!(weight.len(), shape.weight_len(), "weight is [cout, cin, k, k] of {shape:?}");
    let isa = isa.for_channels(shape.cin);
    match Algorithm::of(shape, Pass::DataGrad) {
        Algorithm::Direct => direct::data_grad(isa, shape, dy, weight, sink),
        Algorithm::Winograd(_) => {
            let kernels = Kernels::data_grad(shape, weight);
            let transformed = kernels.transformed(isa);
            let forward = WinogradForward::data_grad(shape, dy, kernels, transformed.as_deref());
            forward.run(isa, &forward.spans(), sink);
        }
    }
}

/// `dW` from `x` and `dy`.
///
/// # Shapes
/// `x` `[n, h, w, cin]`, `dy` `[n, out_h, out_w, cout]`; returns `[cout, cin, k, k]`.
///
/// # Panics
/// When a slice does not have its shape's length.
pub fn conv_weight_grad(isa: Isa, shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    weight_grad(isa, shape, x.into(), dy)
}

fn weight_grad(isa: Isa, shape: &ConvShape, x: Input, dy: &[f32]) -> Vec<f32> {
    shape.check();
    assert_eq!(x.data.len(), shape.x_len(), "x is [n, h, w, cin] of {shape:?}");
    assert_eq!(dy.len(), shape.out_len(), "dy is [n, out_h, out_w, cout] of {shape:?}");
    let isa = isa.for_channels(shape.cout);
    match Algorithm::of(shape, Pass::WeightGrad) {
        Algorithm::Direct => weight::weight_grad(isa, shape, x, dy),
        Algorithm::Winograd(scheme) => winograd::weight_grad(isa, scheme, shape, x, dy),
    }
}

/// A forward convolution with its weights prepared: what is left is to say where the sums go.
enum Forward<'a> {
    Direct(Gather<'a>, &'a [f32]),
    Winograd(WinogradForward<'a>),
}

impl<'a> Forward<'a> {
    fn new(
        shape: &ConvShape,
        groups: usize,
        x: Input<'a>,
        weight: &'a [f32],
        prepared: &'a PreparedConv,
    ) -> Self {
        assert_eq!(x.data.len(), shape.x_len(), "x is [n, h, w, cin] of {shape:?}");
        assert_eq!(weight.len(), shape.weight_len(), "weight is [cout, cin, k, k] of {shape:?}");
        let data = prepared.data.as_deref();
        match prepared.algorithm {
            Algorithm::Direct => {
                Forward::Direct(direct::forward(shape, groups, x), data.unwrap_or_default())
            }
            Algorithm::Winograd(scheme) => {
                let kernels = Kernels::forward(scheme, shape, weight);
                Forward::Winograd(WinogradForward::new(shape, groups, x, kernels, data))
            }
        }
    }

    /// The output pixels of each job, by number.
    fn spans(&self) -> Vec<shape::Span> {
        match self {
            Forward::Direct(gather, _) => gather.spans(),
            Forward::Winograd(forward) => forward.spans(),
        }
    }

    fn run(&self, isa: Isa, spans: &[shape::Span], sink: &impl Sink) {
        match self {
            Forward::Direct(gather, packed) => gather.run(isa, packed, spans, sink),
            Forward::Winograd(forward) => forward.run(isa, spans, sink),
        }
    }
}
