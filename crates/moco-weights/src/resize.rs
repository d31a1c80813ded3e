//! Weights for other sizes: positions on another grid, a first layer for other channels.

use crate::architecture::Interpolation;
use crate::tensor::Values;

/// The cubic kernel's parameter: torch's, and that of its antialiased interpolation, Pillow's.
const SHARP: f64 = -0.75;
const SMOOTH: f64 = -0.5;

/// Positions of the patches of one grid for another: border clamped, corners not aligned.
///
/// # Shapes
/// `table` is `[h w, width]` for `from` = `[h, w]`, row by row, without rows of other tokens; so is
/// the result for `to`.
///
/// # Panics
/// If the table has another length, or a grid has no patches.
pub fn resize_positions(
    table: &[f32],
    width: usize,
    from: [usize; 2],
    to: [usize; 2],
    rule: Interpolation,
) -> Vec<f32> {
    assert_eq!(table.len(), from[0] * from[1] * width, "a table of the grid");
    assert!(from.iter().chain(&to).all(|&side| side > 0), "grids with patches");
    if from == to {
        return table.to_vec();
    }
    let rows = line(from[0], to[0], rule);
    let columns = line(from[1], to[1], rule);
    // Along the columns first, then along the rows.
    let mut wide = vec![0.0; from[0] * to[1] * width];
    for row in 0..from[0] {
        for (x, taps) in columns.iter().enumerate() {
            let out = &mut wide[(row * to[1] + x) * width..][..width];
            for &(at, weight) in taps {
                let values = &table[(row * from[1] + at) * width..][..width];
                out.iter_mut().zip(values).for_each(|(o, &v)| *o += weight * f64::from(v));
            }
        }
    }
    let mut resized = Vec::with_capacity(to[0] * to[1] * width);
    for taps in &rows {
        for i in 0..to[1] * width {
            let sum: f64 =
                taps.iter().map(|&(at, weight)| weight * wide[at * to[1] * width + i]).sum();
            resized.push(sum as f32);
        }
    }
    resized
}

/// For each new place along one axis, the old places that it is made of, and their weights.
fn line(from: usize, to: usize, rule: Interpolation) -> Vec<Vec<(usize, f64)>> {
    match rule {
        Interpolation::Bicubic => bicubic(from, to, from as f64 / to as f64),
        Interpolation::BicubicNudged { nudge } => {
            bicubic(from, to, from as f64 / (to as f64 + nudge))
        }
        Interpolation::BicubicAntialias => antialiased(from, to),
    }
}

/// Four taps around each place (Keys 1981, cubic convolution), those beyond the border at it.
fn bicubic(from: usize, to: usize, scale: f64) -> Vec<Vec<(usize, f64)>> {
    let place = |i: usize| {
        let centre = (i as f64 + 0.5) * scale - 0.5;
        let taps = (-1..=2).map(|tap| {
            let at = centre.floor() + f64::from(tap);
            (at.clamp(0.0, (from - 1) as f64) as usize, cubic((centre - at).abs(), SHARP))
        });
        taps.collect()
    };
    (0..to).map(place).collect()
}

/// Taps within the kernel's reach, which is stretched by the shrinkage; their sum is 1.
fn antialiased(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let place = |i: usize| {
        let centre = scale * (i as f64 + 0.5);
        let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
        let last = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
        let weight = |at: usize| cubic(((at as f64 - centre + 0.5) / stretch).abs(), SMOOTH);
        let sum: f64 = (first..last).map(weight).sum();
        (first..last).map(|at| (at, weight(at) / sum)).collect()
    };
    (0..to).map(place).collect()
}

/// The cubic convolution kernel at distance `x`.
fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// A first layer made for other numbers of channels, as timm has it: for one channel the sum over the
/// old ones; for others the old ones repeated, and scaled by old over new so that the layer's output
/// stays as large.
///
/// # Shapes
/// `[out, old, h, w]` to `[out, channels, h, w]`.
///
/// # Panics
/// If the weight has not four axes or no channels.
pub fn convert_channels(weight: &Values, channels: usize) -> Values {
    let &[outputs, old, height, width] = weight.shape.as_slice() else {
        panic!("a convolution's weight has four axes, not {}", weight.shape.len());
    };
    assert!(old > 0 && channels > 0, "a layer with channels");
    let map = height * width;
    let shape = vec![outputs, channels, height, width];
    if channels == old {
        return weight.clone();
    }
    let mut data = Vec::with_capacity(outputs * channels * map);
    for filter in weight.data.chunks_exact(old * map) {
        if channels == 1 {
            data.extend((0..map).map(|i| filter.iter().skip(i).step_by(map).sum::<f32>()));
        } else {
            let scale = old as f32 / channels as f32;
            data.extend((0..channels * map).map(|i| filter[i % (old * map)] * scale));
        }
    }
    Values { shape, data }
}
