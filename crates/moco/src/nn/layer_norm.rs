//! Layer normalisation. Ba et al. 2016 (arXiv 1607.06450).

use super::param::Param;
use crate::ops::layer_norm::layer_norm;
use burn::tensor::{Device, Tensor};

/// Added to variances in this family's transformers and in CPC; torch's own default is 1e-5.
pub const EPSILON: f64 = 1e-6;

/// Layer normalisation over the last dimension, with scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Scale, `[C]`.
    pub weight: Param<1>,
    /// Shift, `[C]`.
    pub bias: Param<1>,
    epsilon: f64,
}

crate::module!(LayerNorm { weight, bias });

impl LayerNorm {
    /// Scale 1 and shift 0; 1e-6 is added to variances.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self::with_epsilon(channels, EPSILON, device)
    }

    /// Scale 1 and shift 0; `epsilon`, above 0, is added to variances.
    pub fn with_epsilon(channels: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Param::new(Tensor::ones([channels], device)),
            bias: Param::new(Tensor::zeros([channels], device)),
            epsilon,
        }
    }

    /// # Shapes
    /// `[..., C]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;

    #[test]
    fn the_variance_is_biased_and_epsilon_is_inside_the_root() {
        let device = Device::flex();
        let norm = LayerNorm::new(2, &device);
        // Two values ±s have mean 0 and variance s², the size of epsilon here.
        let x = Tensor::<2>::from_data([[2.001, 1.999], [1e-3, -1e-3]], &device);
        let expected = std::f32::consts::FRAC_1_SQRT_2;
        let found = to_host(norm.forward(x));
        for (value, sign) in found.iter().zip([1.0, -1.0, 1.0, -1.0]) {
            // 2.001 is rounded to 1.2e-7, a ten-thousandth of s.
            assert!((value - sign * expected).abs() < 2e-4, "{value}");
        }
    }
}
