//! Convolution as one matrix product, for GPUs of CubeCL: Burn's convolution there is a direct one, and
//! its gradient of the weight a direct convolution by a kernel as large as the map.

use super::Filter;
use burn::tensor::{Tensor, s};

/// `[N, H, W, in]` to `[N, H', W', out]`.
///
/// A row of the product's left side is what the kernel sees at one position, `[kernel, kernel, in]`. These
/// patches take `kernel²` times the memory of `x`, and stay until the backward pass, which is Burn's own of
/// these operations.
pub(super) fn conv(x: Tensor<4>, Filter { weight, stride, .. }: Filter) -> Tensor<4> {
    let [out, inputs, kernel, _] = weight.dims();
    let [n, height, width, _] = x.dims();
    let sides = [height, width].map(|side| side.div_ceil(stride));
    let length = kernel * kernel * inputs;
    let weight = weight.permute([2, 3, 1, 0]).reshape([length, out]);
    let patches = patches(x, kernel, stride, sides).reshape([n * sides[0] * sides[1], length]);
    patches.matmul(weight).reshape([n, sides[0], sides[1], out])
}

/// `[N, H', W', kernel * kernel * in]`: one shifted copy of the padded map for each place in the kernel. For
/// a kernel of one place and stride 1 that is the map itself, which is not copied.
fn patches(x: Tensor<4>, kernel: usize, stride: usize, sides: [usize; 2]) -> Tensor<4> {
    if kernel == 1 && stride == 1 {
        return x;
    }
    let step = stride as isize;
    let [rows, columns] = sides.map(|side| (side - 1) * stride + 1);
    let seen = |x: Tensor<4>, top: usize, left: usize| {
        x.slice(s![.., top..top + rows;step, left..left + columns;step, ..])
    };
    if kernel == 1 {
        return seen(x, 0, 0);
    }
    let pad = kernel / 2;
    let x = x.pad([(0, 0), (pad, pad), (pad, pad), (0, 0)], 0.0);
    let places = (0..kernel).flat_map(|top| (0..kernel).map(move |left| (top, left)));
    Tensor::cat(places.map(|(top, left)| seen(x.clone(), top, left)).collect(), 3)
}
