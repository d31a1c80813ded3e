use super::*;
use crate::testing::{Rng, isas, relative_error};

#[test]
fn every_shape_agrees_with_f64() {
    let mut rng = Rng::new(80);
    let mut shapes = vec![(0, 5), (1, 1), (1, 384), (700, 33), (9, 2048), (64, 16)];
    shapes.extend((0..25).map(|_| (1 + rng.below(40), 1 + rng.below(140))));
    for (rows, c) in shapes {
        // A mean far from zero: sums of squares would lose its digits.
        let x: Vec<f32> = rng.normals(rows * c).iter().map(|x| 3.0 * x + 20.0).collect();
        let (gamma, beta, d) = (rng.normals(c), rng.normals(c), rng.normals(rows * c));
        let [y, dx, dgamma, dbeta] = scalar::layer_norm(&x, &gamma, &beta, 1e-6, &d);
        for isa in isas() {
            let LayerNormOutput { out, saved } = layer_norm_forward(isa, &x, &gamma, &beta, 1e-6);
            let grads = layer_norm_backward(isa, &x, &gamma, &saved, &d, true);
            let got_dx = grads.x.expect("asked for");
            // Rows of one value have no spread: `x̂` is zero, and so is `dx`.
            let mut checks = vec![(&out, &y, 1e-6), (&grads.beta, &dbeta, 1e-6)];
            if c > 2 {
                checks.extend([(&got_dx, &dx, 3e-6), (&grads.gamma, &dgamma, 3e-6)]);
            }
            for (i, (got, expected, bound)) in checks.into_iter().enumerate() {
                let error = relative_error(got, expected);
                assert!(error < bound, "{isa:?} {rows}x{c}, result {i}: {error}");
            }
        }
    }
}

#[test]
fn the_input_gradient_is_the_slope() {
    let mut rng = Rng::new(81);
    let (rows, c) = (2, 7);
    let (x, gamma, beta) = (rng.normals(rows * c), rng.normals(c), rng.normals(c));
    let d = rng.normals(rows * c);
    let loss = |x: &[f32]| {
        let y = &scalar::layer_norm(x, &gamma, &beta, 1e-5, &d)[0];
        y.iter().zip(&d).map(|(y, &d)| y * f64::from(d)).sum::<f64>()
    };
    let dx = &scalar::layer_norm(&x, &gamma, &beta, 1e-5, &d)[1];
    for i in 0..x.len() {
        let (mut above, mut below) = (x.clone(), x.clone());
        (above[i], below[i]) = (x[i] + 1e-3, x[i] - 1e-3);
        let step = f64::from(above[i]) - f64::from(below[i]);
        assert!((dx[i] - (loss(&above) - loss(&below)) / step).abs() < 1e-5);
    }
}

#[test]
fn the_input_gradient_is_left_out() {
    let (x, gamma, beta) = ([1.0, 2.0, 4.0, 8.0], [1.0; 4], [0.0; 4]);
    let saved = layer_norm_forward(Isa::best(), &x, &gamma, &beta, 1e-6).saved;
    let grads = layer_norm_backward(Isa::best(), &x, &gamma, &saved, &[1.0; 4], false);
    assert!(grads.x.is_none() && grads.beta == [1.0; 4]);
}
