use super::*;
use crate::testing::{Rng, isas, relative_error};

const ALL: ContrastNeeds = ContrastNeeds { queries: true, positives: true };

/// Rows of length one.
fn unit_vectors(rng: &mut Rng, rows: usize, dim: usize) -> Vec<f32> {
    let mut vectors = rng.normals(rows * dim);
    for row in vectors.chunks_mut(dim) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    vectors
}

fn check(isa: Isa, shape: &ContrastShape, got: &Contrast, truth: &scalar::Truth) {
    for (got, expected) in got.loss.iter().zip(&truth.loss) {
        let error = (f64::from(*got) - expected).abs();
        assert!(error < 3e-6 * expected.max(1.0), "{isa:?} {shape:?}: {got} {expected}");
    }
    assert_eq!(got.hits, truth.hits, "{isa:?} {shape:?}");
    let grads = [(&got.d_queries, &truth.d_queries), (&got.d_positives, &truth.d_positives)];
    for (got, expected) in grads {
        let error = relative_error(got.as_ref().expect("asked for"), expected);
        assert!(error < 1e-6, "{isa:?} {shape:?}: {error}");
    }
}

#[test]
fn every_shape_agrees_with_f64() {
    let mut rng = Rng::new(100);
    let shape = |queries, dim, bank| ContrastShape { queries, dim, bank };
    let mut shapes = vec![
        shape(1, 1, 1),
        shape(0, 4, 3),
        shape(3, 8, 0),
        shape(300, 16, 40),
        shape(5, 128, 9000),
        shape(33, 32, 1000),
    ];
    shapes.extend((0..15).map(|_| shape(1 + rng.below(60), 1 + rng.below(70), 1 + rng.below(600))));
    for shape in shapes {
        let ContrastShape { queries: n, dim, bank: k } = shape;
        let (q, bank) = (unit_vectors(&mut rng, n, dim), unit_vectors(&mut rng, k, dim));
        // Positives near their queries, as after some training.
        let near: Vec<f32> = q.iter().map(|q| q + 0.3 * rng.normal()).collect();
        let rows: Vec<usize> = (0..n).map(|_| rng.below(k.max(1))).collect();
        for temperature in [0.07, 1.0] {
            let mut cases = vec![Positives::Vectors(&near)];
            if k > 0 {
                cases.push(Positives::Rows(&rows));
            }
            for positives in cases {
                let truth = scalar::contrast(&shape, &q, positives, &bank, temperature.into());
                for isa in isas() {
                    let got = contrast(isa, &shape, &q, positives, &bank, temperature, ALL);
                    check(isa, &shape, &got, &truth);
                }
            }
        }
    }
}

#[test]
fn equal_vectors_lose_the_logarithm_of_their_number() {
    let shape = ContrastShape { queries: 20, dim: 24, bank: 1000 };
    let (q, bank) = (vec![0.5; 480], vec![0.5; 24_000]);
    for isa in isas() {
        let got = contrast(isa, &shape, &q, Positives::Vectors(&q), &bank, 0.2, ALL);
        for i in 0..20 {
            assert!((got.loss[i] - 1001f32.ln()).abs() < 2e-6 && !got.hits[i]);
        }
        assert!(got.d_queries.expect("asked for").iter().all(|d| d.abs() < 1e-5));
    }
}

#[test]
fn the_definition_is_the_slope() {
    let mut rng = Rng::new(101);
    let shape = ContrastShape { queries: 2, dim: 5, bank: 7 };
    let (q, k) = (unit_vectors(&mut rng, 2, 5), unit_vectors(&mut rng, 2, 5));
    let bank = unit_vectors(&mut rng, 7, 5);
    let loss = |q: &[f32], k: &[f32]| {
        scalar::contrast(&shape, q, Positives::Vectors(k), &bank, 0.2).loss.iter().sum::<f64>()
    };
    let truth = scalar::contrast(&shape, &q, Positives::Vectors(&k), &bank, 0.2);
    let moved = |v: &[f32], i: usize, by: f32| {
        let mut v = v.to_vec();
        v[i] += by;
        v
    };
    for i in 0..10 {
        let [(above, below), (k_above, k_below)] =
            [&q, &k].map(|v| (moved(v, i, 1e-3), moved(v, i, -1e-3)));
        let slope = (loss(&above, &k) - loss(&below, &k)) / f64::from(above[i] - below[i]);
        assert!((truth.d_queries[i] - slope).abs() < 1e-4);
        let slope = (loss(&q, &k_above) - loss(&q, &k_below)) / f64::from(k_above[i] - k_below[i]);
        assert!((truth.d_positives[i] - slope).abs() < 1e-4);
    }
}

#[test]
fn only_what_is_needed_is_computed() {
    let shape = ContrastShape { queries: 1, dim: 2, bank: 1 };
    let (q, bank) = ([1.0, 0.0], [0.0, 1.0]);
    let needs = ContrastNeeds::default();
    let got = contrast(Isa::best(), &shape, &q, Positives::Vectors(&q), &bank, 1.0, needs);
    assert!(got.d_queries.is_none() && got.d_positives.is_none() && got.hits[0]);
    // log(e^1 + e^0) - 1
    assert!(
        (got.loss[0] - 0.313_261_7).abs() < 1e-6 && (got.log_sums[0] - 1.313_261_7).abs() < 1e-6
    );
}
