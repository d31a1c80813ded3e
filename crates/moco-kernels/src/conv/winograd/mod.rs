//! 3x3 convolution by Winograd's minimal filters: at stride 1 F(4x4, 3x3), with 36 multiplications
//! where the direct form has 144; at stride 2 by phases, with 81 of 144 (see [`phases`]).
//!
//! Lavin and Gray 2016 (arXiv 1509.09308), with the interpolation points 0, ±0.625, ±1.5 and
//! infinity, which leave the forward at 2.2 to 2.6 times the error of a direct f32 convolution,
//! where the usual 0, ±1, ±2 leave 5 times, and cost nothing more.
//!
//! ```text
//! input tile d (6x6)  ──► V = Bᵀ d B ─┐
//!                                     ├─► 36 matrix products M = V U ──► y = Aᵀ M A (4x4)
//! weights g (3x3)     ──► U = G g Gᵀ ─┘    over (tiles, cin) x (cin, cout)
//!
//! weight gradient:  dU = Vᵀ (A dy Aᵀ) summed over tiles,  dW = Gᵀ dU G
//! ```
//! At stride 2 the tile of inputs is 9x9 and takes 81 products, of which up to four go into one of
//! 25 sums ([`Scheme`] says which). At stride 1 the data gradient is the forward with the weights
//! rotated and transposed; at stride 2 it is direct. Tiles that overhang the map read zeros and write
//! only what is inside, so any map size is exact.

mod fold;
mod forward;
mod input;
mod phases;
mod scheme;
#[cfg(test)]
mod tests;
mod transform;
mod weight_grad;
mod weights;

pub(crate) use forward::WinogradForward;
pub(crate) use scheme::Scheme;
pub(crate) use weight_grad::weight_grad;
pub(crate) use weights::Kernels;

use super::shape::{ConvShape, Span, units};

/// Matrices of transformed weights.
const POINTS: usize = scheme::WEIGHTS * scheme::WEIGHTS;

/// What is computed of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    DataGrad,
    WeightGrad,
}

/// The scheme that takes this shape, if there is one that is faster than the direct form.
///
/// Measured on Zen 5 with AVX-512, from 3 to 512 channels: what decides is how well the tiles are
/// filled. With full tiles Winograd takes 0.3 to 0.6 of the direct form's time even at 3 or 4
/// channels, on 3x3 maps (9 of 16 outputs per tile) 0.6, on 2x2 maps (4 of 16) 1.3, on 1x1 maps
/// 4.5.
///
/// At stride 2, measured on Zen 3 with AVX2, from 64 to 512 channels: with full tiles the forward
/// takes 0.70 to 0.93 of the direct form's time and the weight gradient 0.56 to 0.97; on 7x7 and
/// 14x14 outputs (49 of 64 places in the tiles) 1.06 or more and 0.84 to 1.05.
pub(crate) fn pays(shape: &ConvShape, pass: Pass) -> Option<Scheme> {
    let pixels = shape.out_h() * shape.out_w();
    let tiles = shape.out_h().div_ceil(4) * shape.out_w().div_ceil(4);
    let scheme = Scheme::of(shape)?;
    let fills = match (scheme, pass) {
        (Scheme::Stride1, _) => pixels >= 6 * tiles,
        (Scheme::Stride2, Pass::DataGrad) => false,
        (Scheme::Stride2, Pass::Forward) => pixels >= 14 * tiles,
        (Scheme::Stride2, Pass::WeightGrad) => pixels >= 12 * tiles,
    };
    fills.then_some(scheme)
}

/// The tiles of a batch of output maps.
#[derive(Clone, Copy)]
struct Tiles {
    rows: usize,
    cols: usize,
    out_h: usize,
    out_w: usize,
    groups: usize,
}

/// One tile: its image and its position among the image's tiles.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    y: usize,
    x: usize,
}

impl Tiles {
    fn new(out_h: usize, out_w: usize, groups: usize) -> Tiles {
        Tiles { rows: out_h.div_ceil(4), cols: out_w.div_ceil(4), out_h, out_w, groups }
    }

    fn per_image(&self) -> usize {
        self.rows * self.cols
    }

    fn of(&self, span: Span) -> impl Iterator<Item = Tile> + use<> {
        let cols = self.cols;
        units(span, self.groups, self.per_image()).map(move |(image, unit)| Tile {
            image,
            y: unit / cols,
            x: unit % cols,
        })
    }

    /// Output rows and columns of a tile that lie in the map.
    fn inside(&self, tile: Tile) -> [usize; 2] {
        [4.min(self.out_h - 4 * tile.y), 4.min(self.out_w - 4 * tile.x)]
    }
}
