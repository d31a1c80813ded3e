//! The register tile under every convolution, linear layer and attention: `C (+)= A B` for a block
//! that sits in cache; and `product`, the same for matrices of any size.
//!
//! ```text
//!              B  one panel: K rows of P floats         P = TILE_VECTORS * LANES
//!              ┌────────┐
//!   A          │ ────── │  k
//!   ┌──────┐   └────────┘
//!   │ ·    │   ┌────────┐
//!   │ ·  k │   │ ////// │  C: TILE_ROWS x P accumulators stay in registers over all of K
//!   │ ·    │   └────────┘
//!   └──────┘
//! ```
//! `A` is strided in both directions, so the same tile serves `A B` (rows of pixels) and `Aᵀ B`
//! (columns of pixels, for weight gradients). What becomes of the sums is up to a [`Sink`], which
//! takes them straight from the registers.
//! [`product`] multiplies matrices of any size on all threads. Error: each element is a running sum
//! of `K` products, so it is within `K * 2^-24 * Σ|a b|` of the exact value.

mod block;
mod fetch;
mod into_sink;
mod pack;
mod product;
pub(crate) mod scalar;
mod sink;
mod tile;

pub(crate) use block::{
    PanelInto, add_begun, multiply, multiply_apart, multiply_into, multiply_panels_into,
};
pub(crate) use fetch::{Columns, Fetch};
pub(crate) use into_sink::{IntoSink, Rows};
pub(crate) use pack::{Panels, pack_strip};
pub(crate) use product::{product, product_of_panels};
pub(crate) use sink::{Channels, Sink, Target, added, plain};

use crate::threads::LINE;

/// A strided operand: element `(row, k)` is `data[row * row_stride + k * k_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub k_stride: usize,
}

/// One panel of the right operand: rows of `stride` floats, one per `k`.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// Rows, depth and width (in vectors, at most `TILE_VECTORS`) of a block product.
#[derive(Clone, Copy)]
pub(crate) struct Dims<'a> {
    pub rows: usize,
    pub depth: usize,
    pub vectors: usize,
    pub runs: Runs,
    pub fetch: Fetch<'a>,
}

/// The columns of `A` come in runs of `len`, and `gap` more floats lie between two runs.
#[derive(Clone, Copy)]
pub(crate) struct Runs {
    pub len: usize,
    pub gap: usize,
}

impl Dims<'_> {
    /// With no gaps and nothing to fetch.
    #[inline(always)]
    pub(crate) fn new(rows: usize, depth: usize, vectors: usize) -> Self {
        let runs = Runs { len: LINE, gap: 0 };
        Dims { rows, depth, vectors, runs, fetch: Fetch::NONE }
    }
}

#[cfg(test)]
mod tests;
