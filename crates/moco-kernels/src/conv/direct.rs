//! Forward and data gradient of any convolution as [`Gather`]s.

use super::gather::{Gather, Placement};
use super::pack::{WeightView, pack, packed_len};
use super::shape::ConvShape;
use super::source::Input;
use super::window::{Run, Window};
use crate::Isa;
use crate::gemm::Sink;
use crate::threads::Kept;

/// The forward convolution, which takes weights as [`forward_weights`] packs them.
pub(crate) fn forward<'a>(shape: &ConvShape, groups: usize, x: Input<'a>) -> Gather<'a> {
    let [rows, cols] = [shape.out_h(), shape.out_w()];
    Gather {
        window: Window::forward(shape, x),
        images: shape.n,
        groups,
        points: [rows, cols],
        outputs: shape.cout,
        dst: Placement { rows, cols, step: 1, first_y: 0, first_x: 0 },
    }
}

/// `w`, `[cout, cin, k, k]`, packed with all taps.
pub(crate) fn forward_weights(isa: Isa, shape: &ConvShape, w: &[f32]) -> Kept {
    let taps: Vec<usize> = (0..shape.k * shape.k).collect();
    packed(isa, WeightView::forward(w, shape.cout, shape.cin, taps.len()), &taps)
}

/// Puts `dx`, all of it, one class of input pixels after another.
pub(crate) fn data_grad(isa: Isa, shape: &ConvShape, dy: &[f32], w: &[f32], sink: &impl Sink) {
    let view = WeightView::transposed(w, shape.cout, shape.cin, shape.k * shape.k);
    let stride = shape.stride;
    for first_y in 0..stride.min(shape.h) {
        for first_x in 0..stride.min(shape.w) {
            let rows = class_taps(shape, first_y);
            let cols = class_taps(shape, first_x);
            let taps: Vec<usize> =
                rows.iter().flat_map(|r| cols.iter().map(|c| r.0 * shape.k + c.0)).collect();
            let window = Window {
                src: dy.into(),
                src_dims: [shape.out_h(), shape.out_w(), shape.cout],
                step: 1,
                runs: class_runs(&rows, &cols),
            };
            let gather = Gather {
                window,
                images: shape.n,
                groups: 1,
                points: [
                    (shape.h - first_y).div_ceil(stride),
                    (shape.w - first_x).div_ceil(stride),
                ],
                outputs: shape.cin,
                dst: Placement { rows: shape.h, cols: shape.w, step: stride, first_y, first_x },
            };
            let packed = packed(isa, view, &taps);
            gather.run(isa, &packed, &gather.spans(), sink);
        }
    }
}

/// The taps of one axis that reach input positions `first, first + stride, ...`, as (tap, offset):
/// input `first + stride * t` gets a share of output `t + offset`. Offsets ascend.
fn class_taps(shape: &ConvShape, first: usize) -> Vec<(usize, isize)> {
    let (stride, reach) = (shape.stride, first + shape.pad);
    let reaches = |&tap: &usize| (reach + stride * shape.k - tap).is_multiple_of(stride);
    let taps = (0..shape.k).rev().filter(reaches);
    taps.map(|tap| (tap, (reach as isize - tap as isize) / stride as isize)).collect()
}

fn class_runs(rows: &[(usize, isize)], cols: &[(usize, isize)]) -> Vec<Run> {
    let Some(first) = cols.first() else { return Vec::new() };
    rows.iter().map(|row| Run { y: row.1, x: first.1, taps: cols.len() }).collect()
}

fn packed(isa: Isa, view: WeightView, taps: &[usize]) -> Kept {
    let mut out = Kept::new(packed_len(isa, view.outputs, taps.len() * view.channels));
    pack(isa, view, taps, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_classes_of_a_strided_3x3_share_out_its_taps() {
        let shape = ConvShape { n: 1, h: 8, w: 8, cin: 1, cout: 1, k: 3, stride: 2, pad: 1 };
        assert_eq!(class_taps(&shape, 0), [(1, 0)]);
        assert_eq!(class_taps(&shape, 1), [(2, 0), (0, 1)]);
        let pointwise = ConvShape { k: 1, pad: 0, ..shape };
        assert_eq!(class_taps(&pointwise, 0), [(0, 0)]);
        assert_eq!(class_taps(&pointwise, 1), []);
    }
}
