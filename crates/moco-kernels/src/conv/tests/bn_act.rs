use super::scalar::{BnAct, Statistics};
use super::*;
use crate::Weights;
use crate::pool::{PoolShape, max_pool};

/// Sums of the convolution, then a division by a standard deviation that may be small.
const FORWARD: f64 = 3e-6;
/// BatchNorm's backward subtracts means from gradients, so errors grow where a group has few
/// pixels.
const BACKWARD: f64 = 2e-5;

/// A random problem. Channels get unlike means and scales, so that a wrong channel or group shows.
fn problem(
    rng: &mut Rng,
    shape: ConvShape,
    groups: Option<usize>,
    skip: bool,
    relu: bool,
) -> BnAct<f32> {
    let [x, weight, _] = operands(rng, &shape);
    let positive = |rng: &mut Rng| (0..shape.cout).map(|_| 0.5 + rng.unit() as f32).collect();
    let statistics = match groups {
        Some(groups) => Statistics::Batch { groups },
        None => Statistics::Running { mean: rng.normals(shape.cout), var: positive(rng) },
    };
    BnAct {
        shape,
        x,
        weight,
        gamma: positive(rng),
        beta: rng.normals(shape.cout),
        skip: skip.then(|| rng.normals(shape.out_len())),
        eps: 1e-5,
        relu,
        statistics,
    }
}

fn widen(p: &BnAct<f32>) -> BnAct<f64> {
    BnAct {
        shape: p.shape,
        x: to_f64(&p.x),
        weight: to_f64(&p.weight),
        gamma: to_f64(&p.gamma),
        beta: to_f64(&p.beta),
        skip: p.skip.as_deref().map(to_f64),
        eps: f64::from(p.eps),
        relu: p.relu,
        statistics: match &p.statistics {
            Statistics::Batch { groups } => Statistics::Batch { groups: *groups },
            Statistics::Running { mean, var } => {
                Statistics::Running { mean: to_f64(mean), var: to_f64(var) }
            }
        },
    }
}

fn forward(isa: Isa, p: &BnAct<f32>, keep: bool) -> BnActOutput {
    let (x, skip, bn) = (&p.x, p.skip.as_deref(), params(p));
    conv_bn_act_forward(isa, &p.shape, x, (&p.weight).into(), &bn, skip, p.relu, keep)
}

fn params(p: &BnAct<f32>) -> BnParams<'_> {
    let norm = match &p.statistics {
        Statistics::Batch { groups } => Norm::Batch { groups: *groups },
        Statistics::Running { mean, var } => Norm::Running { mean, var },
    };
    BnParams { gamma: &p.gamma, beta: &p.beta, eps: p.eps, norm }
}

const ALL: BnActNeeds = BnActNeeds { x: true, weight: true, affine: true, skip: true };

fn check(isa: Isa, p: &BnAct<f32>, d_out: &[f32]) {
    let mut exact = widen(p).forward();
    let output = forward(isa, p, true);
    let note = format!("{isa:?} {:?} relu {} skip {}", p.shape, p.relu, p.skip.is_some());
    assert!(relative_error(&output.out, &exact.out) < FORWARD, "{note}");
    if let Statistics::Batch { .. } = p.statistics {
        assert!(relative_error(&output.mean, &exact.mean) < FORWARD, "{note}");
        assert!(relative_error(&output.var, &exact.var) < FORWARD, "{note}");
    }
    // Values on the ReLU's edge may fall on either side; the gradients are those of the mask that
    // was used.
    exact.out = to_f64(&output.out);
    let expected = widen(p).backward(&exact, &to_f64(d_out));
    let saved = output.saved.expect("kept");
    let grads =
        conv_bn_act_backward(isa, &p.shape, &p.x, &p.weight, &saved, &output.out, d_out, ALL);
    let got = [grads.x, grads.weight, grads.gamma, grads.beta, grads.skip];
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let error = relative_error(got.as_ref().expect("asked for"), expected);
        assert!(error < BACKWARD, "{note} gradient {i}: {error}");
    }
}

#[test]
fn batch_statistics_agree_with_f64() {
    let mut rng = Rng::new(10);
    for round in 0..40 {
        let mut shape = random_shape(&mut rng);
        let groups = [1, 1, 2, 4][rng.below(4)];
        shape.n = groups * (1 + rng.below(3)) + rng.below(groups);
        // BatchNorm is blind to a filter's scale, so the gradient of a filter of one weight is zero
        // but for eps.
        shape.cin += usize::from(shape.cin * shape.k == 1);
        // A group of one pixel has no variance: its gradient is 0/0 in the limit of eps and says
        // nothing.
        if shape.out_h() * shape.out_w() * (shape.n / groups) < 8 {
            (shape.h, shape.w) = (shape.h + 12, shape.w + 12);
        }
        let p = problem(&mut rng, shape, Some(groups), round % 2 == 0, round % 3 != 0);
        let d_out = rng.normals(shape.out_len());
        isas().for_each(|isa| check(isa, &p, &d_out));
    }
}

#[test]
fn running_statistics_agree_with_f64() {
    let mut rng = Rng::new(11);
    for round in 0..16 {
        let shape = random_shape(&mut rng);
        let p = problem(&mut rng, shape, None, round % 2 == 0, round % 3 != 0);
        let d_out = rng.normals(shape.out_len());
        isas().for_each(|isa| check(isa, &p, &d_out));
    }
}

#[test]
fn without_keep_the_output_is_the_same() {
    let mut rng = Rng::new(12);
    let shape = ConvShape { n: 4, h: 6, w: 5, cin: 9, cout: 20, k: 3, stride: 1, pad: 1 };
    for groups in [None, Some(1), Some(2)] {
        let p = problem(&mut rng, shape, groups, true, true);
        for isa in isas() {
            let (kept, dropped) = (forward(isa, &p, true), forward(isa, &p, false));
            assert!(dropped.saved.is_none());
            assert_eq!(kept.out, dropped.out);
            assert_eq!(kept.mean, dropped.mean);
        }
    }
}

#[test]
fn only_the_gradients_asked_for_are_computed_and_they_do_not_change() {
    let mut rng = Rng::new(13);
    let shape = ConvShape { n: 2, h: 6, w: 5, cin: 9, cout: 20, k: 3, stride: 1, pad: 1 };
    let p = problem(&mut rng, shape, Some(1), true, true);
    let d_out = rng.normals(shape.out_len());
    let isa = Isa::best();
    let output = forward(isa, &p, true);
    let saved = output.saved.expect("kept");
    let run = |needs| {
        let BnActGrads { x, weight, gamma, beta, skip } =
            conv_bn_act_backward(isa, &shape, &p.x, &p.weight, &saved, &output.out, &d_out, needs);
        [x, weight, gamma, beta, skip]
    };
    let all = run(ALL);
    for bits in 0..16 {
        let [x, weight, affine, skip] = [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1);
        let some = run(BnActNeeds { x, weight, affine, skip });
        for ((got, full), asked) in some.iter().zip(&all).zip([x, weight, affine, affine, skip]) {
            assert_eq!(got.as_ref(), full.as_ref().filter(|_| asked));
        }
    }
}

#[test]
fn without_normalisation_it_is_a_convolution_with_a_bias() {
    let mut rng = Rng::new(14);
    let shape = ConvShape { n: 2, h: 8, w: 8, cin: 3, cout: 20, k: 4, stride: 4, pad: 0 };
    let [x, weight, d_out] = operands(&mut rng, &shape);
    let bias = rng.normals(shape.cout);
    let bn = BnParams { gamma: &[], beta: &bias, eps: 0.0, norm: Norm::None };
    for isa in isas() {
        let weights = (&weight).into();
        let output = conv_bn_act_forward(isa, &shape, &x, weights, &bn, None, false, true);
        assert_eq!(output.out, conv_forward(isa, &shape, &x, &weight, Some(&bias)));
        let saved = output.saved.expect("kept");
        let grads =
            conv_bn_act_backward(isa, &shape, &x, &weight, &saved, &output.out, &d_out, ALL);
        assert_eq!(grads.x, Some(conv_data_grad(isa, &shape, &d_out, &weight)));
        assert_eq!(grads.weight, Some(conv_weight_grad(isa, &shape, &x, &d_out)));
        assert_eq!(grads.skip, Some(d_out.clone()));
        let mut sums = vec![0.0f64; shape.cout];
        d_out.iter().enumerate().for_each(|(i, &d)| sums[i % shape.cout] += f64::from(d));
        assert!(relative_error(&grads.beta.expect("asked for"), &sums) < 1e-5);
    }
}

#[test]
fn a_mean_far_from_zero_does_not_spoil_the_variance() {
    let shape = ConvShape { n: 4, h: 16, w: 16, cin: 1, cout: 2, k: 1, stride: 1, pad: 0 };
    let mut rng = Rng::new(15);
    let mut p = problem(&mut rng, shape, Some(1), false, false);
    // Mean 1000, deviation 1: squares in f32 would keep no digit of the variance.
    p.x = rng.normals(shape.x_len()).into_iter().map(|v| v + 1000.0).collect();
    p.weight = vec![1.0, -1.0];
    let exact = widen(&p).forward();
    for isa in isas() {
        assert!(relative_error(&forward(isa, &p, true).var, &exact.var) < 1e-4);
    }
}

/// The definition's gradients are checked by central differences in f64, so that the oracle has an
/// oracle.
#[test]
fn the_definition_agrees_with_finite_differences() {
    let mut rng = Rng::new(16);
    let shape = ConvShape { n: 4, h: 4, w: 3, cin: 2, cout: 3, k: 3, stride: 2, pad: 1 };
    let p = widen(&problem(&mut rng, shape, Some(2), true, false));
    let d_out = to_f64(&rng.normals(shape.out_len()));
    let loss =
        |p: &BnAct<f64>| -> f64 { p.forward().out.iter().zip(&d_out).map(|(a, b)| a * b).sum() };
    let gradients = p.backward(&p.forward(), &d_out);
    for (which, gradient) in gradients.iter().enumerate() {
        for i in 0..gradient.len() {
            let moved = |by: f64| {
                let mut p = p.clone();
                let skip = p.skip.as_mut().expect("given");
                [&mut p.x, &mut p.weight, &mut p.gamma, &mut p.beta, skip][which][i] += by;
                loss(&p)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-6 * (1.0 + slope.abs()), "{which} {i}");
        }
    }
}

#[test]
fn prepared_weights_serve_every_batch_and_map_that_they_suit() {
    let of =
        |h, cin, cout, k, stride| ConvShape { n: 2, h, w: h, cin, cout, k, stride, pad: k / 2 };
    let shapes = [
        of(9, 20, 33, 3, 1),
        of(16, 5, 7, 3, 2),
        of(4, 304, 8, 3, 1), // transformed on the way
        of(5, 12, 40, 1, 1),
        of(11, 3, 24, 7, 2),
    ];
    let mut rng = Rng::new(15);
    for (i, shape) in shapes.iter().enumerate() {
        let [_, weight, _] = operands(&mut rng, shape);
        let bias = rng.normals(shape.cout);
        let bn = BnParams { gamma: &[], beta: &bias, eps: 0.0, norm: Norm::None };
        for isa in isas() {
            let prepared = &PreparedConv::new(isa, shape, &weight);
            for n in [1, 3] {
                let shape = ConvShape { n, ..*shape };
                assert!(prepared.suits(isa, &shape));
                let [x, ..] = operands(&mut rng, &shape);
                let run = |prepared| {
                    let weight = Weights { values: &weight, prepared };
                    conv_bn_act_forward(isa, &shape, &x, weight, &bn, None, true, false).out
                };
                assert!(run(Some(prepared)) == run(None), "{isa:?} {shape:?}");
            }
            let others = shapes.iter().enumerate().filter(|(j, _)| *j != i);
            assert!(!others.into_iter().any(|(_, other)| prepared.suits(isa, other)));
            // A map of one point takes no tiles, whatever was prepared for larger ones.
            let point = ConvShape { h: 1, w: 1, ..*shape };
            let [x, ..] = operands(&mut rng, &point);
            let run = |prepared| {
                let weight = Weights { values: &weight, prepared };
                conv_bn_act_forward(isa, &point, &x, weight, &bn, None, true, false).out
            };
            assert!(run(Some(prepared)) == run(None), "{isa:?} {point:?}");
        }
    }
}

#[test]
fn with_a_pool_behind_it_equals_one_after_the_other() {
    let mut rng = Rng::new(16);
    let stem = ConvShape { n: 2, h: 23, w: 26, cin: 3, cout: 20, k: 7, stride: 2, pad: 3 };
    let random = (0..40).map(|_| random_shape(&mut Rng::new(rng.next())));
    let shapes: Vec<_> = std::iter::repeat_n(stem, 6).chain(random).collect();
    for (round, shape) in shapes.into_iter().enumerate() {
        let (n, h, w, c) = (shape.n, shape.out_h(), shape.out_w(), shape.cout);
        let k = [3, 3, 2, 1][rng.below(4)].min(h).min(w);
        let (stride, pad) = (1 + rng.below(3), rng.below(k / 2 + 1));
        let pool = PoolShape { n, h, w, c, k, stride, pad };
        let groups = (round % 5 == 4).then_some(1);
        let mut p = problem(&mut rng, shape, groups, false, true);
        if round % 3 == 0 {
            let place = rng.below(p.x.len());
            p.x[place] = f32::NAN;
        }
        for isa in isas() {
            let weight = (&p.weight).into();
            let found = conv_bn_relu_max_pool(isa, &shape, &pool, &p.x, weight, &params(&p));
            let maps = forward(isa, &p, false).out;
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let expected = bits(max_pool(isa, &pool, &maps));
            assert!(bits(found) == expected, "{isa:?} {shape:?} {pool:?}");
        }
    }
}
