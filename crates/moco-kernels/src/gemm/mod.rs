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
//! (columns of pixels, for weight gradients). Error: each element is a running sum of `K` products,
//! so it is within `K * 2^-24 * Σ|a b|` of the exact value.

mod pack;
mod product;
pub(crate) mod scalar;
mod tile;

pub(crate) use pack::{Panels, pack_strip};
pub(crate) use product::{Finish, product};
pub(crate) use tile::{Pairs, multiply, multiply_pairs};

/// A strided operand: element `(row, k)` is `data[row * row_stride + k * k_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub k_stride: usize,
}

/// Rows, depth and width (in vectors, at most `TILE_VECTORS`) of a block product.
#[derive(Clone, Copy)]
pub(crate) struct Dims {
    pub rows: usize,
    pub depth: usize,
    pub vectors: usize,
}

#[cfg(test)]
mod tests;
