//! Kernels against their compositions.

use super::*;
use crate::batch::to_host;
use crate::device::Device;
use moco_kernels::Isa;

/// Three steps of each; a few roundings of values near 1.
#[test]
fn adamw_equals_its_composition() {
    let isa = Isa::best();
    let config = AdamWConfig { lr: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let tensor = |f: fn(f32) -> f32| {
        let values: Vec<f32> = (0..37).map(|i| f(i as f32)).collect();
        Tensor::<1>::from_data(values.as_slice(), &Device::flex())
    };
    let p = tensor(f32::sin);
    let zeros = || [p.zeros_like(), p.zeros_like()];
    let (mut fused, mut composed) = ((p.clone(), zeros()), (p.clone(), zeros()));
    for step in 1..=3 {
        let g = tensor(f32::cos) * f64::from(step as u32);
        fused = cpu::adamw(fused.0, g.clone(), fused.1, step, config, isa);
        composed = stock::adamw(composed.0, g, composed.1, step, config);
        let all = |(p, [m, v]): &(Tensor<1>, [Tensor<1>; 2])| {
            [p, m, v].map(|t| to_host(t.clone())).concat()
        };
        for (a, b) in all(&fused).iter().zip(all(&composed)) {
            assert!((a - b).abs() < 1e-6, "step {step}: {a} {b}");
        }
    }
}

/// Three steps of every form, also where weights or gradients are zero; a few roundings of values
/// near 1. The limit acts at the low rate, and at 0, where a warm-up starts.
#[test]
fn lars_equals_its_composition() {
    let tensor = |f: fn(f32) -> f32| {
        let values: Vec<f32> = (0..37).map(|i| f(i as f32)).collect();
        Tensor::<1>::from_data(values.as_slice(), &Device::flex())
    };
    let zeros = tensor(|_| 0.0);
    let pairs = [
        (tensor(f32::sin), tensor(f32::cos)),
        (zeros.clone(), tensor(f32::cos)),
        (tensor(f32::sin), zeros.clone()),
    ];
    let trust = |norm, clip| Some(Trust { coefficient: 0.02, eps: 1e-8, norm, clip });
    for (trust, lr_in_buffer, lr) in [
        (None, false, 0.3),
        (trust(TrustNorm::Decayed, false), true, 0.3),
        (trust(TrustNorm::Decayed, false), false, 0.3),
        (trust(TrustNorm::Sum, false), false, 0.3),
        (trust(TrustNorm::Sum, true), false, 0.3),
        (trust(TrustNorm::Sum, true), false, 0.01),
        (trust(TrustNorm::Sum, true), false, 0.0),
    ] {
        let config = LarsConfig { lr, momentum: 0.9, weight_decay: 0.01, trust, lr_in_buffer };
        for (p, g) in &pairs {
            let start = || (p.clone(), zeros.clone());
            let (mut fused, mut composed) = (start(), start());
            for step in 0..3 {
                fused = cpu::lars(fused.0, g.clone(), fused.1, config, Isa::best());
                composed = stock::lars(composed.0, g.clone(), composed.1, config);
                let all =
                    |(p, v): &(Tensor<1>, Tensor<1>)| [p, v].map(|t| to_host(t.clone())).concat();
                for (a, b) in all(&fused).iter().zip(all(&composed)) {
                    assert!((a - b).abs() < 2e-6, "{config:?}, step {step}: {a} {b}");
                }
            }
        }
    }
}
