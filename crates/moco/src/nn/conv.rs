//! Convolutions, fused with what follows them.
//!
//! The trunk of every network here is NHWC and built from [`conv_bn_act`], so that one function
//! decides how a convolution, its BatchNorm, the skip connection and the ReLU are computed.

use super::fused::{self, Layer};
use super::init;
use super::norm::{BatchNorm, EPSILON, Mode};
use super::param::Param;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};
use moco_kernels::Isa;
use rand_chacha::ChaCha8Rng;

/// A square convolution without bias, padded so that stride 1 keeps the size (odd kernels).
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<4>,
    stride: usize,
}

crate::module!(Conv { weight });

impl Conv {
    /// Draws a layer from `rng` (Kaiming normal, fan out).
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let shape = [outputs, inputs, kernel, kernel];
        Self { weight: Param::new(init::kaiming_normal_fan_out(shape, rng, device)), stride }
    }

    /// Step between output positions.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// # Shapes
    /// `[N, in, H, W]` to `[N, out, ceil(H / stride), ceil(W / stride)]`.
    fn forward_nchw(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let pad = weight.dims()[2] / 2;
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], 1);
        conv2d(x, weight, None, options)
    }
}

/// What follows the BatchNorm of a [`conv_bn_act`].
#[expect(clippy::large_enum_variant, reason = "moved once per layer, never stored")]
pub enum Then {
    /// Nothing.
    Nothing,
    /// ReLU.
    Relu,
    /// Add the skip connection, then ReLU.
    AddRelu(Tensor<4>),
}

/// Convolution, BatchNorm, and what [`Then`] says, as one call.
///
/// # Shapes
/// `x` is `[N, H, W, in]`; the output, and a skip connection, `[N, H', W', out]`.
pub fn conv_bn_act(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut BatchNorm,
    then: Then,
    mode: Mode,
) -> Tensor<4> {
    match fused::isa(&conv.weight.val().device()) {
        Some(isa) => run_fused(x, conv, norm, then, mode, isa),
        None => compose(x, conv, norm, then, mode),
    }
}

/// With our CPU kernels.
fn run_fused(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut BatchNorm,
    then: Then,
    mode: Mode,
    isa: Isa,
) -> Tensor<4> {
    let weight = conv.weight.val();
    let differentiable = x.is_autodiff() || weight.is_autodiff();
    if mode == Mode::Eval && differentiable {
        return compose(x, conv, norm, then, mode); // running statistics with a gradient: rare
    }
    let relu = !matches!(then, Then::Nothing);
    let skip = if let Then::AddRelu(skip) = then { Some(skip) } else { None };
    let layer =
        Layer { stride: conv.stride, groups: norm.groups(), eps: EPSILON as f32, relu, isa };
    let affine = [norm.weight.val(), norm.bias.val()];
    if mode == Mode::Eval {
        let statistics = [norm.running_mean.val(), norm.running_var.val()];
        return fused::with_running_statistics(x, weight, affine, statistics, skip, layer);
    }
    let (out, [mean, variance]) = fused::with_batch_statistics(x, weight, affine, skip, layer);
    let [n, h, w, _] = out.dims();
    norm.track(mean, variance, n / layer.groups * h * w);
    out
}

/// With stock operations, on any device.
fn compose(x: Tensor<4>, conv: &Conv, norm: &mut BatchNorm, then: Then, mode: Mode) -> Tensor<4> {
    // Permuting is free: between two of these calls the memory simply stays NCHW.
    let y = norm.forward_nchw(conv.forward_nchw(nhwc_to_nchw(x)), mode);
    match then {
        Then::Nothing => nchw_to_nhwc(y),
        Then::Relu => nchw_to_nhwc(relu(y)),
        Then::AddRelu(skip) => nchw_to_nhwc(relu(y + nhwc_to_nchw(skip))),
    }
}

/// 3x3 max-pool with stride 2 and padding 1.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, ceil(H / 2), ceil(W / 2), C]`.
pub fn max_pool(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
    nchw_to_nhwc(max_pool2d(nhwc_to_nchw(x), options))
}

/// Mean over all positions.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, C]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, h, w, c] = x.dims();
    x.reshape([n, h * w, c]).mean_dim(1).reshape([n, c])
}

fn nhwc_to_nchw(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

fn nchw_to_nhwc(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}
