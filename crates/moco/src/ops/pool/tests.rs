//! Kernels against the composition, with the gradient.

use super::*;
use crate::batch::to_host;
use crate::nn::init;
use crate::rng::{Purpose, stream};
use burn::tensor::Device;
use moco_kernels::Isa;

/// What a pooling returns, and the gradient of the sum of its squares.
fn pooled<const D: usize>(x: &Tensor<4>, pool: impl Fn(Tensor<4>) -> Tensor<D>) -> [Vec<f32>; 2] {
    let x = x.clone().require_grad();
    let y = pool(x.clone());
    let gradients = (y.clone() * y.clone()).sum().backward();
    [to_host(y), to_host(x.grad(&gradients).unwrap())]
}

/// A leaf of the same values that lies in memory in another order.
fn scattered(x: &Tensor<4>) -> Tensor<4> {
    let stored = x.clone().swap_dims(0, 1).into_data();
    Tensor::from_data(stored, &x.device()).swap_dims(0, 1).require_grad()
}

#[test]
fn kernels_equal_the_composition_with_its_gradient() {
    let device = Device::flex().autodiff();
    let rng = &mut stream(4, Purpose::Weights, 0);
    for (n, side, channels) in [(2, 7, 5), (3, 8, 16), (1, 1, 3), (2, 2, 33)] {
        let x = init::normal([n, side, side, channels], 1.0, rng, &device);
        let view = scattered(&x);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            let label = format!("{n} maps of {side}x{side}x{channels}, {isa:?}");
            let fused = pooled(&x, |x| cpu::max_pool(x, isa));
            assert_eq!(fused, pooled(&view, |x| cpu::max_pool(x, isa)), "{label}");
            assert_eq!(fused, pooled(&x, stock::max_pool), "{label}");
            // A mean of 64 values of size 1, summed in another order.
            let fused = pooled(&x, |x| cpu::average_pool(x, isa));
            assert_eq!(fused, pooled(&view, |x| cpu::average_pool(x, isa)), "{label}");
            let composed = pooled(&x, stock::average_pool);
            for (fused, composed) in fused.iter().flatten().zip(composed.iter().flatten()) {
                assert!((fused - composed).abs() < 1e-6, "{label}: {fused}, {composed}");
            }
        }
    }
}
