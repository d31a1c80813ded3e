use super::*;

/// Relative Frobenius error against f64 of a sum of at most a few thousand products in f32. The
/// plain loops in f32 reach 1e-7 to 5e-7 on these shapes.
const DIRECT: f64 = 1e-6;

#[test]
fn random_shapes_agree_with_f64() {
    let mut rng = Rng::new(3);
    for round in 0..60 {
        let shape = random_shape(&mut rng);
        let [x, weight, dy] = operands(&mut rng, &shape);
        let [x64, weight64, dy64] = [&x, &weight, &dy].map(|v| to_f64(v));
        let y64 = scalar::forward(&shape, &x64, &weight64);
        let dx64 = scalar::data_grad(&shape, &dy64, &weight64);
        let dw64 = scalar::weight_grad(&shape, &x64, &dy64);
        for isa in isas() {
            let errors = [
                relative_error(&conv_forward(isa, &shape, &x, &weight, None), &y64),
                relative_error(&conv_data_grad(isa, &shape, &dy, &weight), &dx64),
                relative_error(&conv_weight_grad(isa, &shape, &x, &dy), &dw64),
            ];
            assert!(errors.iter().all(|&e| e < DIRECT), "{round} {isa:?} {shape:?}: {errors:?}");
        }
    }
}

/// More panels than pass a tile of rows together, deeper rows than a block, more weights than are read
/// anew for each job, and than are not fetched ahead.
#[test]
fn wide_and_deep_layers_agree_with_f64() {
    let mut rng = Rng::new(8);
    for (cin, cout, k, stride) in [
        (40, 600, 1, 1),
        (70, 530, 1, 2),
        (900, 300, 1, 1),
        (1500, 40, 1, 1),
        (1000, 1060, 1, 1),
        (300, 36, 3, 2),
    ] {
        let shape = ConvShape { n: 3, h: 5, w: 7, cin, cout, k, stride, pad: k / 2 };
        let [x, weight, _] = operands(&mut rng, &shape);
        let expected = scalar::forward(&shape, &to_f64(&x), &to_f64(&weight));
        for isa in isas() {
            let error = relative_error(&conv_forward(isa, &shape, &x, &weight, None), &expected);
            assert!(error < DIRECT, "{isa:?} {shape:?}: {error}");
        }
    }
}

#[test]
fn the_plain_loops_in_f32_are_as_good() {
    let shape = ConvShape { n: 2, h: 9, w: 7, cin: 20, cout: 6, k: 3, stride: 1, pad: 1 };
    let [x, weight, _] = operands(&mut Rng::new(4), &shape);
    let exact = scalar::forward(&shape, &to_f64(&x), &to_f64(&weight));
    assert!(relative_error(&scalar::forward(&shape, &x, &weight), &exact) < DIRECT);
}

#[test]
fn a_bias_is_added_per_channel() {
    let shape = ConvShape { n: 2, h: 3, w: 3, cin: 4, cout: 5, k: 3, stride: 1, pad: 1 };
    let mut rng = Rng::new(5);
    let [x, weight, _] = operands(&mut rng, &shape);
    let bias = rng.normals(5);
    for isa in isas() {
        let plain = conv_forward(isa, &shape, &x, &weight, None);
        let biased = conv_forward(isa, &shape, &x, &weight, Some(&bias));
        for (i, (a, b)) in plain.iter().zip(&biased).enumerate() {
            assert!((a + bias[i % 5] - b).abs() < 1e-6);
        }
    }
}

#[test]
fn empty_batches_and_vanished_maps_give_empty_outputs() {
    for shape in [
        ConvShape { n: 0, h: 4, w: 4, cin: 3, cout: 8, k: 3, stride: 1, pad: 1 },
        ConvShape { n: 2, h: 2, w: 9, cin: 3, cout: 8, k: 5, stride: 2, pad: 0 },
    ] {
        let [x, weight, dy] = operands(&mut Rng::new(6), &shape);
        for isa in isas() {
            assert!(conv_forward(isa, &shape, &x, &weight, None).is_empty());
            assert!(conv_data_grad(isa, &shape, &dy, &weight).iter().all(|&v| v == 0.0));
            assert!(conv_weight_grad(isa, &shape, &x, &dy).iter().all(|&v| v == 0.0));
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let shape = ConvShape { n: 6, h: 13, w: 11, cin: 40, cout: 70, k: 3, stride: 2, pad: 1 };
    same_for_any_threads(&shape);
    same_for_any_threads(&ConvShape { stride: 1, ..shape });
    same_for_any_threads(&ConvShape { h: 16, w: 15, ..shape });
    same_for_any_threads(&ConvShape { n: 3, h: 16, w: 16, cin: 160, cout: 70, ..shape });
}

fn same_for_any_threads(shape: &ConvShape) {
    let [x, weight, dy] = operands(&mut Rng::new(7), shape);
    for isa in isas() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = conv_forward(isa, shape, &x, &weight, None);
                let dx = conv_data_grad(isa, shape, &dy, &weight);
                (y, dx, conv_weight_grad(isa, shape, &x, &dy))
            })
        };
        let one = run(1);
        assert!([2, 3, 2, 7].into_iter().all(|threads| run(threads) == one), "{isa:?}");
    }
}

#[test]
#[should_panic(expected = "x is [n, h, w, cin]")]
fn a_short_input_is_refused() {
    let shape = ConvShape { n: 1, h: 4, w: 4, cin: 3, cout: 8, k: 3, stride: 1, pad: 1 };
    conv_forward(Isa::Portable, &shape, &[0.0; 47], &vec![0.0; shape.weight_len()], None);
}
