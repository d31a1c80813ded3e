use super::*;
use crate::testing::{Rng, isas, relative_error};

#[test]
fn the_definition_has_known_values() {
    // Quantiles of the normal distribution, from any table.
    for (x, cdf) in [(0.0, 0.5), (1.959_963_984_540_054, 0.975), (-3.0, 0.001_349_898_031_630_1)] {
        assert!((scalar::normal_cdf(x) - cdf).abs() < 1e-14);
    }
    // `torch.nn.functional.gelu(torch.tensor(1., dtype=torch.float64), approximate="tanh")`.
    assert!((scalar::gelu(Gelu::Tanh, 1.0).0 - 0.841_191_990_607_771_5).abs() < 1e-12);
}

#[test]
fn derivatives_are_the_slopes() {
    for gelu in [Gelu::Exact, Gelu::Tanh] {
        for i in -40..=40 {
            let (x, h) = (f64::from(i) * 0.17, 1e-5);
            let slope = (scalar::gelu(gelu, x + h).0 - scalar::gelu(gelu, x - h).0) / (2.0 * h);
            assert!((scalar::gelu(gelu, x).1 - slope).abs() < 1e-9, "{gelu:?} at {x}");
        }
    }
}

#[test]
fn every_value_is_within_the_stated_error() {
    let x: Vec<f32> = (-60_000..=60_000).map(|i| i as f32 * 2e-4).collect();
    let ones = vec![1.0; x.len()];
    for isa in isas() {
        for gelu in [Gelu::Exact, Gelu::Tanh] {
            let (out, dx) = (gelu_forward(isa, gelu, &x), gelu_backward(isa, gelu, &x, &ones));
            let mut worst = [0.0f64; 2];
            for i in 0..x.len() {
                let (value, slope) = scalar::gelu(gelu, f64::from(x[i]));
                let size = f64::from(x[i].abs().max(1.0));
                worst[0] = worst[0].max((f64::from(out[i]) - value).abs() / size);
                worst[1] = worst[1].max((f64::from(dx[i]) - slope).abs() / size);
            }
            assert!(worst.iter().all(|&error| error < 3e-7), "{isa:?} {gelu:?}: {worst:?}");
        }
    }
}

#[test]
fn any_length_agrees_with_f64() {
    let mut rng = Rng::new(60);
    for len in [0, 1, 7, 16, 33, 1000, CHUNK + 5] {
        let (x, d) = (rng.normals(len), rng.normals(len));
        for gelu in [Gelu::Exact, Gelu::Tanh] {
            let truth: Vec<_> = x.iter().map(|&x| scalar::gelu(gelu, f64::from(x))).collect();
            let out: Vec<f64> = truth.iter().map(|t| t.0).collect();
            let dx: Vec<f64> = truth.iter().zip(&d).map(|(t, &d)| t.1 * f64::from(d)).collect();
            for isa in isas() {
                let out = relative_error(&gelu_forward(isa, gelu, &x), &out);
                let dx = relative_error(&gelu_backward(isa, gelu, &x, &d), &dx);
                // A single value in the left tail is a few units in the last place off.
                let bound = if len < 1000 { 4e-7 } else { 1e-7 };
                assert!(out < bound && dx < bound, "{isa:?} {gelu:?} {len}: {out} {dx}");
            }
        }
    }
}

#[test]
fn extremes_are_the_limits() {
    let x = [f32::NAN, 1e30, -1e30, 0.0, -40.0];
    for isa in isas() {
        for gelu in [Gelu::Exact, Gelu::Tanh] {
            let out = gelu_forward(isa, gelu, &x);
            assert!(out[0].is_nan() && out[1] == 1e30 && out[2].abs() < 1e-6, "{out:?}");
            assert!(out[3] == 0.0 && out[4].abs() < 1e-35, "{out:?}");
        }
    }
}
