//! Every algorithm and instruction set against the plain loops in f64, over random shapes.

use super::scalar;
use super::*;
use crate::testing::{Rng, isas, relative_error, to_f64};

mod block;
mod bn_act;
mod convolution;
mod shared;

/// Small random shapes: odd sides, 1x1 maps, channels 1 to 70, any kernel, stride and padding in
/// use.
fn random_shape(rng: &mut Rng) -> ConvShape {
    let k = [1, 1, 3, 3, 3, 7, 2, 5][rng.below(8)];
    let pad = if rng.below(4) == 0 { rng.below(k) } else { k / 2 };
    let side = |rng: &mut Rng| k.saturating_sub(2 * pad).max(1) + rng.below(11);
    let few = |rng: &mut Rng| {
        let most = [4, 20, 70][rng.below(3)];
        1 + rng.below(most)
    };
    ConvShape {
        n: 1 + rng.below(4),
        h: side(rng),
        w: side(rng),
        cin: few(rng),
        cout: few(rng),
        k,
        stride: 1 + rng.below(2) + usize::from(rng.below(8) == 0),
        pad,
    }
}

/// `x = relu(normal)` and He-scaled weights: what a trained network's layers see.
fn operands(rng: &mut Rng, shape: &ConvShape) -> [Vec<f32>; 3] {
    let x = rng.normals(shape.x_len()).into_iter().map(|v| v.max(0.0)).collect();
    let fan_in = (shape.cin * shape.k * shape.k) as f32;
    let weight = rng.normals(shape.weight_len());
    let weight = weight.into_iter().map(|v| v * (2.0 / fan_in).sqrt()).collect();
    [x, weight, rng.normals(shape.out_len())]
}
