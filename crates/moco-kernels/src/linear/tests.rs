use super::*;
use crate::gelu::scalar::gelu as truth;
use crate::testing::{Rng, isas, relative_error};

/// Odd sizes, one row, and sizes beyond every block: 48 rows, 512 deep, 32 columns.
fn shapes(rng: &mut Rng) -> Vec<LinearShape> {
    let mut shapes = vec![
        LinearShape { rows: 0, inputs: 3, outputs: 5 },
        LinearShape { rows: 1, inputs: 1, outputs: 1 },
        LinearShape { rows: 3, inputs: 0, outputs: 4 },
        LinearShape { rows: 1600, inputs: 20, outputs: 33 },
        LinearShape { rows: 5, inputs: 1700, outputs: 140 },
        LinearShape { rows: 100, inputs: 300, outputs: 257 },
    ];
    for _ in 0..12 {
        let [rows, inputs, outputs] = [150, 90, 90].map(|n| 1 + rng.below(n));
        shapes.push(LinearShape { rows, inputs, outputs });
    }
    shapes
}

/// `Σ_k a(i, k) b(j, k)` in f64 for all `i` and `j`.
fn definition(
    [rows, depth, cols]: [usize; 3],
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let sum = |i: usize, j: usize| (0..depth).map(|k| a(i, k) * b(j, k)).sum();
    (0..rows * cols).map(|at| sum(at / cols, at % cols)).collect()
}

struct Case {
    shape: LinearShape,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    d_out: Vec<f32>,
}

impl Case {
    fn new(rng: &mut Rng, shape: LinearShape) -> Case {
        Case {
            shape,
            x: rng.normals(shape.x_len()),
            weight: rng.normals(shape.weight_len()),
            bias: rng.normals(shape.outputs),
            d_out: rng.normals(shape.out_len()),
        }
    }

    fn forward(&self) -> Vec<f64> {
        let LinearShape { rows, inputs, outputs } = self.shape;
        let at = |data: &[f32], i: usize| f64::from(data[i]);
        let mut y = definition(
            [rows, inputs, outputs],
            |i, k| at(&self.x, i * inputs + k),
            |j, k| at(&self.weight, j * inputs + k),
        );
        y.iter_mut().enumerate().for_each(|(i, y)| *y += at(&self.bias, i % outputs));
        y
    }

    /// `dx`, `dW` and `db` from the gradient at the output of the product.
    fn backward(&self, dy: &[f64]) -> [Vec<f64>; 3] {
        let LinearShape { rows, inputs, outputs } = self.shape;
        let at = |data: &[f32], i: usize| f64::from(data[i]);
        let d = |i: usize, k: usize| dy[i * outputs + k];
        [
            definition([rows, outputs, inputs], d, |j, k| at(&self.weight, k * inputs + j)),
            definition([outputs, rows, inputs], |i, k| d(k, i), |j, k| at(&self.x, k * inputs + j)),
            definition([1, rows, outputs], |_, _| 1.0, |j, k| d(k, j)),
        ]
    }
}

const ALL: LinearNeeds = LinearNeeds { x: true, weight: true, bias: true };

fn check_grads(case: &Case, isa: Isa, grads: &LinearGrads, expected: &[Vec<f64>; 3]) {
    for (got, expected) in [&grads.x, &grads.weight, &grads.bias].into_iter().zip(expected) {
        let error = relative_error(got.as_ref().expect("asked for"), expected);
        assert!(error < 1e-6, "{isa:?} {:?}: {error}", case.shape);
    }
}

#[test]
fn every_shape_agrees_with_f64() {
    let mut rng = Rng::new(70);
    for shape in shapes(&mut rng) {
        let case = Case::new(&mut rng, shape);
        let Case { x, weight, bias, d_out, .. } = &case;
        let out = case.forward();
        let d_out64: Vec<f64> = d_out.iter().map(|&d| f64::from(d)).collect();
        let grads = case.backward(&d_out64);
        for isa in isas() {
            let got = linear_forward(isa, &shape, x, weight.into(), Some(bias));
            let error = relative_error(&got, &out);
            assert!(error < 1e-6, "{isa:?} {shape:?}: {error}");
            let prepared = &PreparedLinear::new(isa, &shape, weight);
            assert!(prepared.suits(isa, &LinearShape { rows: 1, ..shape }));
            let weights = Weights { values: weight, prepared: Some(prepared) };
            assert!(linear_forward(isa, &shape, x, weights, Some(bias)) == got);
            let got = linear_backward(isa, &shape, x, weight, d_out, ALL);
            check_grads(&case, isa, &got, &grads);
        }
    }
}

#[test]
fn weights_prepared_for_another_layer_are_prepared_again() {
    let shape = LinearShape { rows: 3, inputs: 4, outputs: 6 };
    let Case { x, weight, .. } = Case::new(&mut Rng::new(73), shape);
    for isa in isas() {
        let other = LinearShape { inputs: 6, outputs: 4, ..shape };
        let prepared = &PreparedLinear::new(isa, &other, &weight);
        assert!(!prepared.suits(isa, &shape));
        let weights = Weights { values: &weight, prepared: Some(prepared) };
        let expected = linear_forward(isa, &shape, &x, (&weight).into(), None);
        assert!(linear_forward(isa, &shape, &x, weights, None) == expected);
    }
}

/// The sum of products with `d_out` is linear in each input, so that a difference is exact but for
/// the rounding of the step.
#[test]
fn the_definition_agrees_with_finite_differences() {
    let mut case = Case::new(&mut Rng::new(72), LinearShape { rows: 3, inputs: 4, outputs: 5 });
    let d_out: Vec<f64> = case.d_out.iter().map(|&d| f64::from(d)).collect();
    let loss = |case: &Case| case.forward().iter().zip(&d_out).map(|(y, d)| y * d).sum::<f64>();
    let grads = case.backward(&d_out);
    let inputs: [fn(&mut Case) -> &mut Vec<f32>; 3] =
        [|case| &mut case.x, |case| &mut case.weight, |case| &mut case.bias];
    for (input, grad) in inputs.into_iter().zip(&grads) {
        for (i, expected) in grad.iter().enumerate() {
            let before = input(&mut case)[i];
            let mut at = |value: f32| {
                input(&mut case)[i] = value;
                (f64::from(value), loss(&case))
            };
            let ((above, high), (below, low)) = (at(before + 0.25), at(before - 0.25));
            at(before);
            assert!((expected - (high - low) / (above - below)).abs() < 1e-9);
        }
    }
}

#[test]
fn gelu_is_fused_both_ways() {
    let mut rng = Rng::new(71);
    for shape in shapes(&mut rng) {
        let mut case = Case::new(&mut rng, shape);
        // Sums of moderate size: the slope of GELU is not 0 or 1 everywhere.
        let size = (shape.inputs.max(1) as f32).sqrt();
        case.weight.iter_mut().for_each(|w| *w /= size);
        let Case { x, weight, bias, d_out, .. } = &case;
        let pre = case.forward();
        for gelu in [Gelu::Exact, Gelu::Tanh] {
            let out: Vec<f64> = pre.iter().map(|&x| truth(gelu, x).0).collect();
            let d_pre: Vec<f64> =
                pre.iter().zip(d_out).map(|(&x, &d)| truth(gelu, x).1 * f64::from(d)).collect();
            let grads = case.backward(&d_pre);
            for isa in isas() {
                let got =
                    linear_gelu_forward(isa, &shape, x, weight.into(), Some(bias), gelu, true);
                assert!(relative_error(&got.out, &out) < 1e-6, "{isa:?} {shape:?}");
                let kept = got.pre.expect("asked to keep it");
                assert!(relative_error(&kept, &pre) < 1e-6, "{isa:?} {shape:?}");
                let got = linear_gelu_backward(isa, &shape, x, weight, (gelu, &kept), d_out, ALL);
                check_grads(&case, isa, &got, &grads);
            }
        }
    }
}

#[test]
fn only_what_is_needed_is_computed() {
    let shape = LinearShape { rows: 4, inputs: 3, outputs: 2 };
    let (x, weight, d_out) = (vec![1.0; 12], vec![0.5; 6], vec![2.0; 8]);
    let isa = Isa::best();
    let needs = LinearNeeds { weight: true, ..Default::default() };
    let grads = linear_backward(isa, &shape, &x, &weight, &d_out, needs);
    assert!(grads.x.is_none() && grads.bias.is_none() && grads.weight.is_some());
    let out = linear_gelu_forward(isa, &shape, &x, (&weight).into(), None, Gelu::Exact, false);
    assert!(out.pre.is_none() && (out.out[0] - 1.399_789_2).abs() < 1e-6);
}
