//! Position embeddings: learned, or fixed sines and cosines; interpolated for other image sizes.

use super::config::{Positions, VitConfig};
use super::init;
use crate::nn::{Buffer, Module, Param, Visitor};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

/// Vaswani et al. 2017 (arXiv 1706.03762), Sec. 3.5: wavelengths from 2π to this many times 2π.
const LONGEST: f64 = 10_000.0;
/// The bicubic kernel's parameter, torch's choice.
const CUBIC_A: f64 = -0.75;

/// One embedding per patch of a grid, and one in front of them for the class token if there is one.
#[derive(Debug)]
pub(crate) struct PositionEmbedding {
    table: Table,
    grid: [usize; 2],
    class_token: bool,
    nudge: f64,
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
        let (grid @ [h, w], class_token) = (config.grid(), config.class_token);
        let fixed = |row_first| {
            let values = sincos(config.width, grid, row_first, class_token);
            let shape = [1, values.len() / config.width, config.width];
            let table = Tensor::from_data(TensorData::new(values, shape), device);
            Table::Fixed(Buffer::new(table))
        };
        let table = match config.positions {
            Positions::Learned => {
                let shape = [1, h * w + usize::from(class_token), config.width];
                Table::Learned(Param::new(init::tokens(shape, rng, device)))
            }
            Positions::SincosRowFirst => fixed(true),
            Positions::SincosColumnFirst => fixed(false),
        };
        Self { table, grid, class_token, nudge: config.position_nudge }
    }

    fn table(&self) -> Tensor<3> {
        match &self.table {
            Table::Learned(table) => table.val(),
            Table::Fixed(table) => table.val(),
        }
    }

    /// Of the class token, `[1, 1, D]`.
    pub(crate) fn class_token(&self) -> Tensor<3> {
        self.table().narrow(1, 0, 1)
    }

    /// Of the patches of a `grid`, row by row, `[1, L, D]`.
    pub(crate) fn patches(&self, grid: [usize; 2]) -> Tensor<3> {
        let table = self.table();
        let length = self.grid[0] * self.grid[1];
        let table = table.narrow(1, usize::from(self.class_token), length);
        if grid == self.grid {
            return table;
        }
        resize_positions(table, self.grid, grid, self.nudge)
    }
}

/// Positions of the patches of one grid for another, by torch's bicubic interpolation: border
/// clamped, corners not aligned, no antialiasing. For `nudge` see [`VitConfig::position_nudge`].
///
/// # Shapes
/// `[1, h w, D]` for `from` = `[h, w]` to the same for `to`.
pub fn resize_positions(
    table: Tensor<3>,
    from: [usize; 2],
    to: [usize; 2],
    nudge: f64,
) -> Tensor<3> {
    let [_, length, width] = table.dims();
    let matrix = TensorData::new(bicubic(from, to, nudge), [to[0] * to[1], length]);
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
fn sincos(width: usize, [h, w]: [usize; 2], row_first: bool, class_token: bool) -> Vec<f32> {
    let mut values = vec![0.0; if class_token { width } else { 0 }];
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
fn bicubic(from: [usize; 2], to: [usize; 2], nudge: f64) -> Vec<f32> {
    let [rows, columns] = std::array::from_fn(|axis| bicubic_line(from[axis], to[axis], nudge));
    let mut matrix = Vec::with_capacity(from[0] * from[1] * to[0] * to[1]);
    for row in rows.chunks(from[0]) {
        for column in columns.chunks(from[1]) {
            matrix.extend(row.iter().flat_map(|r| column.iter().map(move |c| (r * c) as f32)));
        }
    }
    matrix
}

/// The same along one axis (Keys 1981, cubic convolution).
fn bicubic_line(from: usize, to: usize, nudge: f64) -> Vec<f64> {
    let scale = (to as f64 + nudge) / from as f64;
    let mut matrix = vec![0.0; to * from];
    for (i, weights) in matrix.chunks_mut(from).enumerate() {
        let centre = (i as f64 + 0.5) / scale - 0.5;
        for tap in -1..=2 {
            let at = centre.floor() + f64::from(tap);
            let inside = at.clamp(0.0, (from - 1) as f64) as usize;
            weights[inside] += cubic((centre - at).abs());
        }
    }
    matrix
}

/// The cubic convolution kernel at distance `x` in [0, 2].
fn cubic(x: f64) -> f64 {
    let a = CUBIC_A;
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
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
        let same = bicubic([2, 3], [2, 3], 0.0);
        for (i, weight) in same.iter().enumerate() {
            assert_eq!(*weight, f32::from(i / 6 == i % 6));
        }
    }
}
