//! Which products a tile takes: the bilinear form behind each stride.

use super::super::shape::ConvShape;

/// The form of one stride. `V` are a tile's transformed inputs, `U` the 36 transformed weights and
/// `M` the sums from which the outputs follow; each of `V` and `M` is a matrix over (tiles,
/// channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// F(4x4, 3x3) at stride 1: `M[i] = V[i] U[i]`.
    Stride1,
    /// Stride 2, by phases: up to four products go into one sum, see [`super::phases`].
    Stride2,
}

/// Along one axis, what belongs to each point: pairs of positions in the two other operands.
type Axis = &'static [&'static [(usize, usize)]];

const ONE_TO_ONE: Axis = &[&[(0, 0)], &[(1, 1)], &[(2, 2)], &[(3, 3)], &[(4, 4)], &[(5, 5)]];
/// (input, weights) of each sum: the outer taps' inputs 0..5, the middle tap's 5..9.
const OF_SUM: Axis =
    &[&[(0, 0), (5, 5)], &[(1, 1), (6, 5)], &[(2, 2), (7, 5)], &[(3, 3), (8, 5)], &[(4, 4)]];
/// (input, sum) of each weight: the same products, seen from the weights.
const OF_WEIGHTS: Axis =
    &[&[(0, 0)], &[(1, 1)], &[(2, 2)], &[(3, 3)], &[(4, 4)], &[(5, 0), (6, 1), (7, 2), (8, 3)]];

/// Side of the square of transformed weights, in both schemes.
pub(super) const WEIGHTS: usize = 6;

impl Scheme {
    /// The scheme that takes a shape, if there is one.
    pub(crate) fn of(shape: &ConvShape) -> Option<Scheme> {
        match (shape.k, shape.stride, shape.pad) {
            (3, 1, 0..=2) => Some(Scheme::Stride1),
            (3, 2, 0..=2) => Some(Scheme::Stride2),
            _ => None,
        }
    }

    /// Input pixels between neighbouring tiles.
    pub(super) fn step(self) -> usize {
        match self {
            Scheme::Stride1 => 4,
            Scheme::Stride2 => 8,
        }
    }

    /// Matrices `V`.
    pub(super) fn inputs(self) -> usize {
        match self {
            Scheme::Stride1 => 6 * 6,
            Scheme::Stride2 => 9 * 9,
        }
    }

    /// Matrices `M`.
    pub(super) fn sums(self) -> usize {
        match self {
            Scheme::Stride1 => 6 * 6,
            Scheme::Stride2 => 5 * 5,
        }
    }

    /// All products `V[input] U[weights]`: of each sum one after another, which one of the sum, input and
    /// weights.
    #[inline(always)]
    pub(super) fn products(self) -> impl Iterator<Item = [usize; 4]> {
        (0..self.sums()).flat_map(move |sum| {
            let terms = self.products_of_sum(sum).enumerate();
            terms.map(move |(term, (input, weights))| [sum, term, input, weights])
        })
    }

    /// The products `V[input] U[weights]` of one sum.
    #[inline(always)]
    pub(super) fn products_of_sum(self, sum: usize) -> impl Iterator<Item = (usize, usize)> {
        match self {
            Scheme::Stride1 => square(ONE_TO_ONE, sum, [6, WEIGHTS]),
            Scheme::Stride2 => square(OF_SUM, sum, [9, WEIGHTS]),
        }
    }

    /// The products `V[input]ᵀ dM[sum]` of the gradient of one transformed weight.
    #[inline(always)]
    pub(super) fn products_of_weights(self, point: usize) -> impl Iterator<Item = (usize, usize)> {
        match self {
            Scheme::Stride1 => square(ONE_TO_ONE, point, [6, 6]),
            Scheme::Stride2 => square(OF_WEIGHTS, point, [9, 5]),
        }
    }
}

/// The pairs of a point of a square, from those of its row and its column; `sides` are those of
/// the squares that the pairs point into.
#[inline(always)]
fn square(axis: Axis, point: usize, sides: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    let (rows, cols) = (axis[point / axis.len()], axis[point % axis.len()]);
    rows.iter().flat_map(move |row| {
        cols.iter().map(move |col| (row.0 * sides[0] + col.0, row.1 * sides[1] + col.1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_views_list_the_same_products() {
        for scheme in [Scheme::Stride1, Scheme::Stride2] {
            let by_sum = |sum: usize| {
                scheme.products_of_sum(sum).map(move |(input, weights)| (input, weights, sum))
            };
            let by_weights = |weights: usize| {
                scheme.products_of_weights(weights).map(move |(input, sum)| (input, weights, sum))
            };
            let mut forward: Vec<_> = (0..scheme.sums()).flat_map(by_sum).collect();
            let mut backward: Vec<_> = (0..WEIGHTS * WEIGHTS).flat_map(by_weights).collect();
            forward.sort_unstable();
            backward.sort_unstable();
            assert_eq!(forward, backward);
            // Every input is used once.
            assert!(forward.iter().map(|p| p.0).eq(0..scheme.inputs()));
        }
    }
}
