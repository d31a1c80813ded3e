//! GELU by Burn's operations.

use super::Gelu;
use burn::tensor::Tensor;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// Composed here rather than by Burn's own activation, whose gradient is that of the tanh
/// approximation even where its forward pass is exact.
pub(in crate::ops) fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    let twice_phi = match kind {
        Gelu::Erf => (x.clone() * FRAC_1_SQRT_2).erf() + 1.0,
        Gelu::Tanh => {
            let inner = x.clone() * (x.clone().square() * 0.044715 + 1.0);
            (inner * (FRAC_2_SQRT_PI * FRAC_1_SQRT_2)).tanh() + 1.0
        }
    };
    x * twice_phi * 0.5
}
