//! Layer normalisation of whole maps, as lightning-bolts' CPC has it.

use super::param::Param;
use crate::ops::layer_norm::layer_norm;
use burn::tensor::{Device, Tensor};

/// Added to variances: torch's default.
const EPSILON: f64 = 1e-5;

/// Normalisation over all positions and channels of an image's map together, with a scale and a shift
/// for each of its values: torch's `LayerNorm([C, H, W])`. It is made for maps of one size.
#[derive(Clone, Debug)]
pub struct MapNorm {
    /// Scale, `[C, H, W]`.
    pub weight: Param<3>,
    /// Shift, `[C, H, W]`.
    pub bias: Param<3>,
}

crate::module!(MapNorm { weight, bias });

impl MapNorm {
    /// Scale 1 and shift 0 for maps of `[height, width]`.
    pub fn new(channels: usize, [height, width]: [usize; 2], device: &Device) -> Self {
        let shape = [channels, height, width];
        Self {
            weight: Param::new(Tensor::ones(shape, device)),
            bias: Param::new(Tensor::zeros(shape, device)),
        }
    }

    /// # Shapes
    /// `[N, H, W, C]` to the same.
    ///
    /// # Panics
    /// If the maps are of another size than the norm was made for.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, h, w, c] = x.dims();
        let weight = self.weight.val();
        assert_eq!(weight.dims(), [c, h, w], "maps of the size that the norm is made for");
        let flat = |values: Tensor<3>| values.permute([1, 2, 0]).reshape([h * w * c]);
        let y = layer_norm(x.reshape([n, h * w * c]), flat(weight), flat(self.bias.val()), EPSILON);
        y.reshape([n, h, w, c])
    }
}
