//! Gaussian error linear units. Hendrycks & Gimpel 2016 (arXiv 1606.08415).

pub(super) mod cpu;
pub(super) mod stock;
#[cfg(feature = "libtorch")]
pub(super) mod torch;

use super::Engine;
use burn::tensor::Tensor;
use moco_kernels::gelu;

/// How the normal distribution function in [`gelu()`] is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gelu {
    /// Exactly, by the error function: what Vision Transformers use.
    #[default]
    Erf,
    /// The paper's approximation by tanh (Sec. 2), within 5e-4 of the exact one.
    Tanh,
}

impl Gelu {
    /// The kernels' name for it.
    pub(super) fn kernel(self) -> gelu::Gelu {
        match self {
            Gelu::Erf => gelu::Gelu::Exact,
            Gelu::Tanh => gelu::Gelu::Tanh,
        }
    }
}

/// `x Φ(x)`, where Φ is the distribution function of the standard normal.
pub fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    match Engine::of(&x.device()) {
        Engine::Kernels(isa) => cpu::gelu(x, kind, isa),
        #[cfg(feature = "libtorch")]
        Engine::LibTorch => torch::gelu(x, kind),
        Engine::Stock => stock::gelu(x, kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::device::Device;

    /// Values and slopes of x Φ(x), and of the tanh approximation, to nine digits, at
    /// -3, -1, 0, 0.5 and 2 (from Python's `math.erfc`, `math.exp` and `math.tanh`).
    const EXPECTED: [(Gelu, [f64; 5], [f64; 5]); 2] = [
        (
            Gelu::Erf,
            [-0.004049694, -0.158655254, 0.000000000, 0.345731231, 1.954499736],
            [-0.011945647, -0.083315471, 0.500000000, 0.867495125, 1.085231801],
        ),
        (
            Gelu::Tanh,
            [-0.003637392, -0.158808009, 0.000000000, 0.345714010, 1.954597694],
            [-0.011584167, -0.082964084, 0.500000000, 0.867369904, 1.086099257],
        ),
    ];

    #[test]
    fn values_and_slopes_are_those_of_the_definition() {
        for (kind, values, slopes) in EXPECTED {
            let at = [-3.0f32, -1.0, 0.0, 0.5, 2.0];
            let x = Tensor::<1>::from_data(at, &Device::flex().autodiff()).require_grad();
            let y = gelu(x.clone(), kind);
            let slope = x.grad(&y.clone().sum().backward()).unwrap();
            let found = [to_host(y), to_host(slope)].concat();
            for (found, expected) in found.iter().zip(values.iter().chain(&slopes)) {
                // A few roundings of numbers around 1.
                assert!(
                    (f64::from(*found) - expected).abs() < 5e-7,
                    "{kind:?}: {found} {expected}"
                );
            }
        }
    }
}
