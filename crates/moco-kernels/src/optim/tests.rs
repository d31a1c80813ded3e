use super::*;
use crate::testing::{Rng, isas, max_abs_diff, relative_error, to_f64};

#[test]
fn updates_agree_with_the_plain_loops() {
    let mut rng = Rng::new(30);
    for len in [0, 1, 7, 16, 33, 1000, CHUNK + 5] {
        let (start, other, speed) = (rng.normals(len), rng.normals(len), rng.normals(len));
        let config = SgdConfig { lr: 0.03, momentum: 0.9, weight_decay: 1e-4 };
        let (mut p, mut v) = (start.clone(), speed.clone());
        scalar::sgd(&mut p, &other, &mut v, config);
        let mut k = start.clone();
        scalar::ema(&mut k, &other, 0.999);
        for isa in isas() {
            let (mut param, mut velocity, mut key) = (start.clone(), speed.clone(), start.clone());
            sgd(isa, &mut param, &other, &mut velocity, config);
            ema(isa, &mut key, &other, 0.999);
            // A fused multiply-add saves a rounding: one or two units in the last place of
            // values below 8.
            for (got, expected) in [(&param, &p), (&velocity, &v), (&key, &k)] {
                assert!(max_abs_diff(got, expected) <= 1e-6, "{isa:?} {len}");
            }
        }
    }
}

#[test]
fn momentum_one_keeps_the_key_and_zero_copies_the_query() {
    let (start, query) = (vec![1.5f32; 40], vec![-2.0f32; 40]);
    for isa in isas() {
        let mut key = start.clone();
        ema(isa, &mut key, &query, 1.0);
        assert_eq!(key, start);
        ema(isa, &mut key, &query, 0.0);
        assert_eq!(key, query);
    }
}

const LENGTHS: [usize; 7] = [1, 7, 16, 33, 1000, 5000, CHUNK + 5];

#[test]
fn adamw_agrees_with_f64_over_ten_steps() {
    let mut rng = Rng::new(31);
    let config = AdamWConfig { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    for len in LENGTHS {
        let (start, grads) =
            (rng.normals(len), (0..10).map(|_| rng.normals(len)).collect::<Vec<_>>());
        let mut truth = [to_f64(&start), vec![0.0; len], vec![0.0; len]];
        for (i, grad) in grads.iter().enumerate() {
            scalar::adamw(&mut truth, grad, i as i32 + 1, config);
        }
        for isa in isas() {
            let (mut p, mut m, mut v) = (start.clone(), vec![0.0; len], vec![0.0; len]);
            for (grad, step) in grads.iter().zip(1..) {
                adamw(isa, &mut p, grad, [&mut m, &mut v], step, config);
            }
            for (got, expected) in [&p, &m, &v].into_iter().zip(&truth) {
                let error = relative_error(got, expected);
                assert!(error < 1e-6, "{isa:?} {len}: {error}");
            }
        }
    }
}

#[test]
fn adamw_takes_the_steps_of_pytorch() {
    // torch 2.15: p = [1, -2, 3]; AdamW([p], lr=0.1, weight_decay=0.1), gradients [1, 0.5, -2] and
    // [0.25, -1, 0].
    let config = AdamWConfig { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    let (mut p, mut m, mut v) = ([1.0, -2.0, 3.0], [0.0; 3], [0.0; 3]);
    adamw(Isa::best(), &mut p, &[1.0, 0.5, -2.0], [&mut m, &mut v], 1, config);
    adamw(Isa::best(), &mut p, &[0.25, -1.0, 0.0], [&mut m, &mut v], 2, config);
    let expected = [0.798_040_3, -2.022_589_7, 3.106_305_8];
    assert!(max_abs_diff(&p, &expected) < 5e-7, "{p:?}");
}

/// The flavours of [`LarsConfig`]'s table, and no adaptation.
fn flavours() -> Vec<LarsConfig> {
    let trust = Trust { coefficient: 0.001, eps: 0.0, norm: TrustNorm::Decayed, clip: false };
    let moco = LarsConfig {
        lr: 0.3,
        momentum: 0.9,
        weight_decay: 1e-2,
        trust: Some(trust),
        lr_in_buffer: false,
    };
    let larc = Trust { norm: TrustNorm::Sum, eps: 1e-8, ..trust };
    let solo = Trust { coefficient: 0.02, clip: true, ..larc };
    vec![
        moco,
        LarsConfig { lr_in_buffer: true, ..moco },
        LarsConfig { trust: Some(larc), ..moco },
        LarsConfig { trust: Some(solo), lr: 0.01, ..moco },
        LarsConfig { trust: None, weight_decay: 0.0, ..moco },
    ]
}

#[test]
fn every_flavour_of_lars_agrees_with_f64() {
    let mut rng = Rng::new(32);
    for len in LENGTHS {
        let (start, grads) =
            (rng.normals(len), (0..3).map(|_| rng.normals(len)).collect::<Vec<_>>());
        for config in flavours() {
            // A falling rate tells the two places of the rate apart.
            let at = |step: usize| LarsConfig { lr: config.lr / (1 + step) as f32, ..config };
            let mut truth = [to_f64(&start), vec![0.0; len]];
            for (step, grad) in grads.iter().enumerate() {
                scalar::lars(&mut truth, grad, at(step));
            }
            for isa in isas() {
                let (mut p, mut v) = (start.clone(), vec![0.0; len]);
                for (step, grad) in grads.iter().enumerate() {
                    lars(isa, &mut p, grad, &mut v, at(step));
                }
                for (got, expected) in [&p, &v].into_iter().zip(&truth) {
                    let error = relative_error(got, expected);
                    // Gradients that nearly cancel in a velocity of few elements cost a digit.
                    let bound = if len < 16 { 1e-5 } else { 1e-6 };
                    assert!(error < bound, "{isa:?} {len} {config:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn lars_without_adaptation_is_sgd() {
    let mut rng = Rng::new(33);
    let (start, grad, speed) = (rng.normals(100), rng.normals(100), rng.normals(100));
    let sgd_config = SgdConfig { lr: 0.1, momentum: 0.9, weight_decay: 1e-3 };
    let SgdConfig { lr, momentum, weight_decay } = sgd_config;
    let config = LarsConfig { lr, momentum, weight_decay, trust: None, lr_in_buffer: false };
    let [(mut p, mut v), (mut q, mut w)] = [0, 1].map(|_| (start.clone(), speed.clone()));
    lars(Isa::best(), &mut p, &grad, &mut v, config);
    sgd(Isa::best(), &mut q, &grad, &mut w, sgd_config);
    assert_eq!((p, v), (q, w));
}

#[test]
fn zero_norms_are_not_adapted() {
    let (zeros, ones) = ([0.0f32; 4], [1.0f32; 4]);
    for config in flavours() {
        let (mut p, mut v) = (zeros, zeros);
        lars(Isa::best(), &mut p, &ones, &mut v, config);
        assert_eq!(p, [-config.lr; 4], "{config:?}");
        let (mut p, mut v) = (ones, zeros);
        lars(Isa::best(), &mut p, &zeros, &mut v, config);
        let decays = config.trust.is_some_and(|trust| trust.norm == TrustNorm::Decayed);
        assert_eq!(p != ones, decays, "{config:?}");
    }
}
