//! The definitions, in f64.
#![cfg(test)]

use std::f64::consts::{FRAC_2_PI, PI};

use super::Gelu;

/// `gelu(x)` and its derivative.
pub(crate) fn gelu(gelu: Gelu, x: f64) -> (f64, f64) {
    match gelu {
        Gelu::Exact => {
            let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
            (x * normal_cdf(x), normal_cdf(x) + x * density)
        }
        Gelu::Tanh => {
            let tanh = (FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh();
            let slope = FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            (0.5 * x * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * slope)
        }
    }
}

/// `Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/(3·5) + ...)`: no cancellation among the terms.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 9.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..300 {
        term *= x * x / f64::from(2 * n + 1);
        sum += term;
    }
    0.5 + (-0.5 * x * x).exp() / (2.0 * PI).sqrt() * sum
}
