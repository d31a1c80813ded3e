//! Position embeddings: learned, or fixed sines and cosines; interpolated for other image sizes.

use super::config::{Positions, VitConfig};
use super::init;
use crate::nn::{Buffer, Module, Param, Visitor};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

/// Vaswani et al. 2017 (arXiv 1706.03762), Sec. 3.5: wavelengths from 2π to this many times 2π.
const LONGEST: f64 = 10_000.0;
/// The bicubic kernel's parameter in torch, and in torch with antialiasing.
const CUBIC_A: f64 = -0.75;
const ANTIALIASED_CUBIC_A: f64 = -0.5;

/// One embedding per patch of a grid, and one in front of them for the class token if there is one.
#[derive(Debug)]
pub(crate) struct PositionEmbedding {
    table: Table,
    grid: [usize; 2],
    class_row: bool,
    rule: Interpolation,
}

/// How positions of one grid become those of another: bicubic, as torch's `interpolate` with
/// `align_corners=False`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interpolation {
    /// See [`VitConfig::position_nudge`].
    pub nudge: f64,
    /// See [`VitConfig::antialias_positions`].
    pub antialias: bool,
}

/// `[1, T, D]`.
#[derive(Debug)]
enum Table {
    Learned(Param<3>),
    Fixed(Buffer<3>),
}

impl PositionEmbedding {
    /// Learned ones are drawn from `rng`.
    pub(crate) fn new(config: &VitConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let grid @ [h, w] = config.grid();
        let class_row = config.class_token && config.class_position;
        let fixed = |row_first| {
            let values = sincos(config.width, grid, row_first, class_row);
            let shape = [1, values.len() / config.width, config.width];
            let table = Tensor::from_data(TensorData::new(values, shape), device);
            Table::Fixed(Buffer::new(table))
        };
        let table = match config.positions {
            Positions::Learned => {
                let shape = [1, h * w + usize::from(class_row), config.width];
                Table::Learned(Param::new(init::tokens(shape, rng, device)))
            }
            Positions::SincosRowFirst => fixed(true),
            Positions::SincosColumnFirst => fixed(false),
        };
        let rule =
            Interpolation { nudge: config.position_nudge, antialias: config.antialias_positions };
        Self { table, grid, class_row, rule }
    }

    fn table(&self) -> Tensor<3> {
        match &self.table {
            Table::Learned(table) => table.val(),
            Table::Fixed(table) => table.val(),
        }
    }

    /// The position of the class token, `[1, 1, D]`, if it has one.
    pub(crate) fn class_token(&self) -> Option<Tensor<3>> {
        self.class_row.then(|| self.table().narrow(1, 0, 1))
    }

    /// The positions of the patches of a `grid`, row by row, `[1, L, D]`.
    pub(crate) fn patches(&self, grid: [usize; 2]) -> Tensor<3> {
        let table = self.table();
        let length = self.grid[0] * self.grid[1];
        let table = table.narrow(1, usize::from(self.class_row), length);
        if grid == self.grid {
            return table;
        }
        resize_positions(table, self.grid, grid, self.rule)
    }
}

/// Positions of the patches of one grid for another.
///
/// # Shapes
/// `[1, h w, D]` for `from` = `[h, w]` to the same for `to`.
pub fn resize_positions(
    table: Tensor<3>,
    from: [usize; 2],
    to: [usize; 2],
    rule: Interpolation,
) -> Tensor<3> {
    let [_, length, width] = table.dims();
    let matrix = TensorData::new(bicubic(from, to, rule), [to[0] * to[1], length]);
    let matrix = Tensor::<2>::from_data(matrix, &table.device().without_autodiff());
    matrix.matmul(table.reshape([length, width])).unsqueeze()
}

impl Module for PositionEmbedding {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        match &mut self.table {
            Table::Learned(table) => table.visit(visitor),
            Table::Fixed(table) => table.visit(visitor),
        }
    }
}

/// Sines and cosines of rows and columns, `[h w, D]`; zeros in front of them for a class token.
fn sincos(width: usize, [h, w]: [usize; 2], row_first: bool, class_row: bool) -> Vec<f32> {
    let mut values = vec![0.0; if class_row { width } else { 0 }];
    for row in 0..h {
        for column in 0..w {
            let both = if row_first { [row, column] } else { [column, row] };
            values.extend(both.into_iter().flat_map(|at| sines_and_cosines(at, width / 2)));
        }
    }
    values
}

/// `count / 2` sines of `at`, then as many cosines, with wavelengths in geometric progression.
fn sines_and_cosines(at: usize, count: usize) -> impl Iterator<Item = f32> {
    let frequencies = count / 2;
    let angle = move |i: usize| at as f64 / LONGEST.powf(i as f64 / frequencies as f64);
    let sines = (0..frequencies).map(move |i| angle(i).sin() as f32);
    sines.chain((0..frequencies).map(move |i| angle(i).cos() as f32))
}

/// Bicubic interpolation from one grid to another as a matrix, `[to, from]`, both row by row.
fn bicubic(from: [usize; 2], to: [usize; 2], rule: Interpolation) -> Vec<f32> {
    let line = if rule.antialias { antialiased_line } else { bicubic_line };
    let [rows, columns] = std::array::from_fn(|axis| line(from[axis], to[axis], rule.nudge));
    let mut matrix = Vec::with_capacity(from[0] * from[1] * to[0] * to[1]);
    for row in rows.chunks(from[0]) {
        for column in columns.chunks(from[1]) {
            matrix.extend(row.iter().flat_map(|r| column.iter().map(move |c| (r * c) as f32)));
        }
    }
    matrix
}

/// Weights of the old positions along one axis for each new one (Keys 1981, cubic convolution),
/// `[to, from]`; what lies beyond the border is the border.
fn bicubic_line(from: usize, to: usize, nudge: f64) -> Vec<f64> {
    let scale = (to as f64 + nudge) / from as f64;
    let mut matrix = vec![0.0; to * from];
    for (i, weights) in matrix.chunks_mut(from).enumerate() {
        let centre = (i as f64 + 0.5) / scale - 0.5;
        for tap in -1..=2 {
            let at = centre.floor() + f64::from(tap);
            let inside = at.clamp(0.0, (from - 1) as f64) as usize;
            weights[inside] += cubic((centre - at).abs(), CUBIC_A);
        }
    }
    matrix
}

/// As [`bicubic_line`], with the kernel stretched over as many old positions as a new one stands for
/// and cut off at the border, as torch and Pillow resize with antialiasing.
fn antialiased_line(from: usize, to: usize, nudge: f64) -> Vec<f64> {
    let step = from as f64 / (to as f64 + nudge);
    let stretch = step.max(1.0);
    let mut matrix = vec![0.0; to * from];
    for (i, weights) in matrix.chunks_mut(from).enumerate() {
        let centre = step * (i as f64 + 0.5);
        let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
        let end = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
        for (j, weight) in weights.iter_mut().enumerate().take(end).skip(first) {
            let distance = (j as f64 + 0.5 - centre).abs() / stretch;
            *weight = cubic(distance, ANTIALIASED_CUBIC_A);
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    matrix
}

/// The cubic convolution kernel of parameter `a` at distance `x`, at least 0.
fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_weights_sum_to_one_and_the_same_size_is_the_identity() {
        for (from, to, nudge) in [(14, 6, 0.1), (14, 37, 0.0), (2, 5, 0.1), (1, 3, 0.0)] {
            for weights in bicubic_line(from, to, nudge).chunks(from) {
                assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{from} to {to}");
            }
        }
        for antialias in [false, true] {
            let same = bicubic([2, 3], [2, 3], Interpolation { nudge: 0.0, antialias });
            for (i, weight) in same.iter().enumerate() {
                assert_eq!(*weight, f32::from(i / 6 == i % 6));
            }
        }
    }
}
