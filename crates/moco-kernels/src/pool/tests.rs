use super::*;
use crate::testing::{Rng, isas, relative_error};

fn random_shape(rng: &mut Rng) -> PoolShape {
    let k = [3, 3, 2, 1, 5][rng.below(5)];
    PoolShape {
        n: 1 + rng.below(3),
        h: k + rng.below(9),
        w: k + rng.below(9),
        c: 1 + rng.below(70),
        k,
        stride: 1 + rng.below(3),
        pad: rng.below(k / 2 + 1),
    }
}

#[test]
fn max_pool_is_the_definition_exactly() {
    let mut rng = Rng::new(20);
    for _ in 0..40 {
        let shape = random_shape(&mut rng);
        // Few distinct values, so that ties occur.
        let x: Vec<f32> = (0..shape.x_len()).map(|_| rng.below(5) as f32 - 3.0).collect();
        let d_out = rng.normals(shape.out_len());
        let (expected, positions, sources) = scalar::max_pool(&shape, &x);
        let mut dx = vec![0.0f64; shape.x_len()];
        sources.iter().zip(&d_out).for_each(|(&source, &d)| dx[source] += f64::from(d));
        for isa in isas() {
            let (out, got) = max_pool_forward(isa, &shape, &x);
            assert_eq!((&out, &got), (&expected, &positions), "{isa:?} {shape:?}");
            assert_eq!(max_pool(isa, &shape, &x), expected, "{isa:?} {shape:?}");
            // At most nine gradients meet in one input.
            assert!(relative_error(&max_pool_backward(isa, &shape, &d_out, &got), &dx) < 1e-6);
        }
    }
}

#[test]
fn a_nan_wins_its_windows() {
    let shape = PoolShape { n: 1, h: 4, w: 4, c: 1, k: 2, stride: 2, pad: 0 };
    let mut x = vec![1.0; 16];
    x[5] = f32::NAN;
    x[0] = 7.0;
    let (out, positions) = max_pool_forward(Isa::best(), &shape, &x);
    assert!(out[0].is_nan() && positions[0] == 3);
    assert_eq!(out[1..], [1.0; 3]);
}

#[test]
fn averages_agree_with_f64() {
    let mut rng = Rng::new(21);
    for _ in 0..30 {
        let dims = [1 + rng.below(4), 1 + rng.below(60), 1 + rng.below(70)];
        let [n, pixels, c] = dims;
        let (x, d_out) = (rng.normals(n * pixels * c), rng.normals(n * c));
        let mut mean = vec![0.0f64; n * c];
        for (i, &x) in x.iter().enumerate() {
            mean[i / (pixels * c) * c + i % c] += f64::from(x) / pixels as f64;
        }
        let dx: Vec<f64> = (0..x.len())
            .map(|i| f64::from(d_out[i / (pixels * c) * c + i % c]) / pixels as f64)
            .collect();
        for isa in isas() {
            assert!(relative_error(&average_pool_forward(isa, dims, &x), &mean) < 1e-6);
            assert!(relative_error(&average_pool_backward(isa, dims, &d_out), &dx) < 2e-7);
        }
    }
}
