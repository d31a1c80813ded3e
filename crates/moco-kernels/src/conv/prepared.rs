//! Which algorithm a convolution takes, and its weights in that algorithm's order.

use super::direct;
use super::shape::ConvShape;
use super::winograd::{self, Kernels, Pass, Scheme};
use crate::Isa;
use crate::threads::Kept;
use crate::weights::{Prepared, Weights};

/// How a shape is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Direct,
    Winograd(Scheme),
}

impl Algorithm {
    pub(super) fn of(shape: &ConvShape, pass: Pass) -> Algorithm {
        winograd::pays(shape, pass).map_or(Algorithm::Direct, Algorithm::Winograd)
    }
}

/// A convolution's weights in the order in which its forward pass reads them.
///
/// A call that is not given them prepares them for itself. For weights that stay as they are, those
/// of a frozen encoder, it is done once.
#[derive(Debug)]
pub struct PreparedConv {
    isa: Isa,
    /// Outputs, inputs and the kernel's side.
    sizes: [usize; 3],
    pub(super) algorithm: Algorithm,
    /// `None` where the forward pass transforms them on the way.
    pub(super) data: Option<Kept>,
}

impl PreparedConv {
    /// Prepares `weight`, `[cout, cin, k, k]`, for `shape` at any batch, and for maps of other sizes
    /// where these take the same algorithm.
    ///
    /// # Panics
    /// When `weight` does not have its shape's length.
    pub fn new(isa: Isa, shape: &ConvShape, weight: &[f32]) -> Self {
        let once = Self::for_a_call(isa, shape, weight);
        Self { data: once.data.map(Kept::apart), ..once }
    }

    fn for_a_call(isa: Isa, shape: &ConvShape, weight: &[f32]) -> Self {
        shape.check();
        assert_eq!(weight.len(), shape.weight_len(), "weight is [cout, cin, k, k] of {shape:?}");
        let isa = isa.for_channels(shape.cout);
        let algorithm = Algorithm::of(shape, Pass::Forward);
        let data = match algorithm {
            Algorithm::Direct => Some(direct::forward_weights(isa, shape, weight)),
            Algorithm::Winograd(scheme) => Kernels::forward(scheme, shape, weight).transformed(isa),
        };
        PreparedConv { isa, sizes: sizes(shape), algorithm, data }
    }

    /// Whether a call with this shape can use them.
    pub fn suits(&self, isa: Isa, shape: &ConvShape) -> bool {
        let algorithm = Algorithm::of(shape, Pass::Forward);
        let found = (self.isa, self.sizes, self.algorithm);
        found == (isa.for_channels(shape.cout), sizes(shape), algorithm)
    }
}

fn sizes(shape: &ConvShape) -> [usize; 3] {
    [shape.cout, shape.cin, shape.k]
}

/// The prepared weights of a call: those given, if they fit, or made here.
pub(super) fn prepared<'a>(
    isa: Isa,
    shape: &ConvShape,
    weight: Weights<'a, PreparedConv>,
) -> Prepared<'a, PreparedConv> {
    let make = |values| PreparedConv::for_a_call(isa, shape, values);
    weight.prepare(|prepared| prepared.suits(isa, shape), make)
}
