use super::*;
use crate::conv::{direct, scalar};
use crate::gemm::{Target, plain};
use crate::testing::{Rng, isas, relative_error, to_f64};
use crate::threads::filled;
use crate::{Isa, conv::weight};

/// Relative Frobenius error against f64. The transforms multiply and subtract values of like size
/// before and after the sums, so it is a few times that of the direct form; see
/// `errors_are_a_small_multiple_of_the_direct_form`.
const WINOGRAD: f64 = 3e-6;

fn scheme(shape: &ConvShape) -> Scheme {
    Scheme::of(shape).expect("a shape that a scheme takes")
}

fn forward(isa: Isa, shape: &ConvShape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let kernels = Kernels::forward(scheme(shape), shape, weight);
    let transformed = kernels.transformed(isa);
    let forward = WinogradForward::new(shape, 1, x.into(), kernels, transformed.as_deref());
    // SAFETY: a forward puts every pixel and channel of the output.
    unsafe {
        filled(shape.out_len(), |out| {
            forward.run(isa, &forward.spans(), &plain(Target::new(out, shape.cout)));
        })
    }
}

fn data_grad(isa: Isa, shape: &ConvShape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    let kernels = Kernels::data_grad(shape, weight);
    let transformed = kernels.transformed(isa);
    let forward = WinogradForward::data_grad(shape, dy, kernels, transformed.as_deref());
    // SAFETY: a forward puts every pixel and channel of the output.
    unsafe {
        filled(shape.x_len(), |out| {
            forward.run(isa, &forward.spans(), &plain(Target::new(out, shape.cin)));
        })
    }
}

fn weight_grad(isa: Isa, shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    super::weight_grad(isa, scheme(shape), shape, x.into(), dy)
}

/// `x = relu(normal)`, He weights, normal `dy`.
fn operands(rng: &mut Rng, shape: &ConvShape) -> [Vec<f32>; 3] {
    let x = rng.normals(shape.x_len()).into_iter().map(|v| v.max(0.0)).collect();
    let scale = (2.0 / (9 * shape.cin) as f32).sqrt();
    let weight = rng.normals(shape.weight_len()).into_iter().map(|v| v * scale).collect();
    [x, weight, rng.normals(shape.out_len())]
}

fn exact(shape: &ConvShape, [x, weight, dy]: &[Vec<f32>; 3]) -> [Vec<f64>; 3] {
    let [x, weight, dy] = [x, weight, dy].map(|v| to_f64(v));
    [
        scalar::forward(shape, &x, &weight),
        scalar::data_grad(shape, &dy, &weight),
        scalar::weight_grad(shape, &x, &dy),
    ]
}

fn check(shape: &ConvShape, rng: &mut Rng, isas: impl Iterator<Item = Isa>) {
    let inputs = operands(rng, shape);
    let expected = exact(shape, &inputs);
    let [x, weight, dy] = &inputs;
    for isa in isas {
        let got = [(0, forward(isa, shape, x, weight)), (2, weight_grad(isa, shape, x, dy))];
        let dx = (shape.stride == 1).then(|| (1, data_grad(isa, shape, dy, weight)));
        for (which, got) in got.into_iter().chain(dx) {
            let error = relative_error(&got, &expected[which]);
            assert!(error < WINOGRAD, "{isa:?} {shape:?} result {which}: {error}");
        }
    }
}

#[test]
fn ragged_tiles_tiny_maps_and_odd_channels_agree_with_f64() {
    let mut rng = Rng::new(40);
    for round in 0..60 {
        let pad = [1, 1, 0, 2][rng.below(4)];
        let smallest = if pad == 0 { 3 } else { 1 };
        let shape = ConvShape {
            n: 1 + rng.below(5),
            h: smallest + rng.below(14),
            w: smallest + rng.below(14),
            cin: 1 + rng.below(if round % 2 == 0 { 70 } else { 9 }),
            cout: 1 + rng.below(if round % 2 == 0 { 70 } else { 9 }),
            k: 3,
            stride: 1 + rng.below(2),
            pad,
        };
        check(&shape, &mut rng, isas());
    }
}

/// Wide layers take the arrangements in phases, and blocks of channels that are not full. At stride
/// 1 those begin behind 300 channels, and behind 16 blocks of 64x64 of weight gradients.
#[test]
fn wide_layers_agree_with_f64() {
    let mut rng = Rng::new(41);
    let shape = ConvShape { n: 3, h: 5, w: 6, cin: 200, cout: 150, k: 3, stride: 1, pad: 1 };
    check(&shape, &mut rng, isas());
    check(&ConvShape { cin: 150, cout: 300, h: 2, ..shape }, &mut rng, isas());
    check(&ConvShape { n: 2, cin: 320, cout: 310, ..shape }, &mut rng, isas());
    check(&ConvShape { h: 11, stride: 2, ..shape }, &mut rng, isas());
}

/// More tiles than one wave or one part holds.
#[test]
fn many_tiles_agree_with_f64() {
    let mut rng = Rng::new(42);
    let shape = ConvShape { n: 70, h: 17, w: 16, cin: 9, cout: 10, k: 3, stride: 1, pad: 1 };
    let fast = || std::iter::once(Isa::best());
    check(&shape, &mut rng, fast());
    check(&ConvShape { n: 20, h: 24, w: 24, cin: 60, cout: 40, ..shape }, &mut rng, fast());
    check(&ConvShape { n: 40, h: 8, w: 8, cin: 170, cout: 17, ..shape }, &mut rng, fast());
    check(&ConvShape { h: 33, w: 30, stride: 2, ..shape }, &mut rng, fast());
    check(&ConvShape { n: 130, h: 16, cin: 170, cout: 40, stride: 2, ..shape }, &mut rng, fast());
}

/// Measured here at stride 1: 2.2 times the plain loops' error forwards, and for the weight gradient
/// 3.0 times that of the direct form, which sums in blocks and is better than the plain loops.
#[test]
fn errors_are_a_small_multiple_of_the_direct_form() {
    let shape = ConvShape { n: 2, h: 16, w: 16, cin: 64, cout: 64, k: 3, stride: 1, pad: 1 };
    errors_are_small(shape);
    errors_are_small(ConvShape { h: 32, w: 32, stride: 2, ..shape });
}

fn errors_are_small(shape: ConvShape) {
    let mut rng = Rng::new(43);
    let inputs = operands(&mut rng, &shape);
    let expected = exact(&shape, &inputs);
    let [x, weight, dy] = &inputs;
    let isa = Isa::best();
    let plain = scalar::forward(&shape, x, weight);
    let direct_dw = weight::weight_grad(isa, &shape, x[..].into(), dy);
    let error = relative_error(&forward(isa, &shape, x, weight), &expected[0]);
    let direct_error = relative_error(&plain, &expected[0]);
    assert!(
        error < 3.0 * direct_error && error < 1e-6,
        "{error:.2e}, plain loops {direct_error:.2e}"
    );
    let error = relative_error(&weight_grad(isa, &shape, x, dy), &expected[2]);
    let direct_error = relative_error(&direct_dw, &expected[2]);
    assert!(error < 4.0 * direct_error && error < 1e-6, "{error:.2e}, direct {direct_error:.2e}");
}

#[test]
fn both_algorithms_agree_where_either_may_run() {
    let mut rng = Rng::new(44);
    let shape = ConvShape { n: 2, h: 7, w: 7, cin: 20, cout: 24, k: 3, stride: 1, pad: 1 };
    let [x, weight, dy] = operands(&mut rng, &shape);
    for isa in isas() {
        // SAFETY: the classes of input pixels cover `dx`.
        let dx = unsafe {
            filled(shape.x_len(), |dx| {
                direct::data_grad(isa, &shape, &dy, &weight, &plain(Target::new(dx, shape.cin)));
            })
        };
        let error = relative_error(&data_grad(isa, &shape, &dy, &weight), &to_f64(&dx));
        assert!(error < WINOGRAD);
        let dw = to_f64(&weight::weight_grad(isa, &shape, x[..].into(), &dy));
        assert!(relative_error(&weight_grad(isa, &shape, &x, &dy), &dw) < WINOGRAD);
    }
}
