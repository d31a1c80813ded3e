//! Convolutions, fused with what follows them.
//!
//! The trunk of every network here is NHWC and built from [`conv_bn_act`], so that one function
//! decides how a convolution, its BatchNorm, the skip connection and the ReLU are computed.

use super::fused::{self, Layer};
use super::fused_eval::{self, After};
use super::fused_pool;
use super::init;
use super::layer_norm::LayerNorm;
use super::map_norm::MapNorm;
use super::module::{Module, Visitor};
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

    /// A layer of the given weight, `[out, in, kernel, kernel]`.
    pub fn of_weight(weight: Tensor<4>, stride: usize) -> Self {
        Self { weight: Param::new(weight), stride }
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
///
/// # Panics
/// In training mode, if N is not a multiple of the BatchNorm's groups.
pub fn conv_bn_act(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut BatchNorm,
    then: Then,
    mode: Mode,
) -> Tensor<4> {
    if mode == Mode::Train && norm.is_shared() {
        let y = norm.forward_shared(conv_act(x, conv, None, Then::Nothing));
        return activate(y, then);
    }
    match fused::isa(&conv.weight.val().device()) {
        Some(isa) => run_fused(x, conv, norm, then, mode, isa),
        None => compose(x, conv, norm, then, mode),
    }
}

/// The normalisation behind a convolution.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "most networks have nothing but the large one")]
pub enum ConvNorm {
    /// Over the batch.
    Batch(BatchNorm),
    /// Over the channels of each position.
    Layer(LayerNorm),
    /// Over all positions and channels of an image.
    Map(MapNorm),
    /// Nothing.
    Nothing,
}

impl Module for ConvNorm {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        match self {
            ConvNorm::Batch(norm) => norm.visit(visitor),
            ConvNorm::Layer(norm) => norm.visit(visitor),
            ConvNorm::Map(norm) => norm.visit(visitor),
            ConvNorm::Nothing => {}
        }
    }
}

/// As [`conv_bn_act`], with any normalisation.
///
/// # Shapes
/// As [`conv_bn_act`].
///
/// # Panics
/// As [`conv_bn_act`].
pub fn conv_norm_act(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut ConvNorm,
    then: Then,
    mode: Mode,
) -> Tensor<4> {
    match norm {
        ConvNorm::Batch(norm) => conv_bn_act(x, conv, norm, then, mode),
        ConvNorm::Nothing => conv_act(x, conv, None, then),
        ConvNorm::Layer(norm) => {
            activate(norm.forward(conv_act(x, conv, None, Then::Nothing)), then)
        }
        ConvNorm::Map(norm) => activate(norm.forward(conv_act(x, conv, None, Then::Nothing)), then),
    }
}

/// What [`Then`] says.
fn activate(y: Tensor<4>, then: Then) -> Tensor<4> {
    match then {
        Then::Nothing => y,
        Then::Relu => relu(y),
        Then::AddRelu(skip) => relu(y + skip),
    }
}

/// Convolution, bias, and what [`Then`] says, without normalisation.
///
/// # Shapes
/// As [`conv_bn_act`]; `bias` is `[out]`.
pub fn conv_act(x: Tensor<4>, conv: &Conv, bias: Option<Tensor<1>>, then: Then) -> Tensor<4> {
    let weight = conv.weight.val();
    let Some(isa) = fused::isa(&weight.device()) else {
        let y = conv.forward_nchw(nhwc_to_nchw(x));
        let y = match bias {
            Some(bias) => y + bias.reshape([1, -1, 1, 1]),
            None => y,
        };
        return finish(y, then);
    };
    let relu = !matches!(then, Then::Nothing);
    let skip = if let Then::AddRelu(skip) = then { Some(skip) } else { None };
    let plain = weight.device().without_autodiff();
    let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &plain));
    let layer = Layer { stride: conv.stride, groups: None, eps: 0.0, relu, isa };
    fused::without_norm(x, weight, bias, skip, layer)
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
    if mode == Mode::Eval {
        let after = if relu { After::Relu } else { After::Nothing };
        return fused_eval::run(x, conv, norm, skip, (after, isa));
    }
    let layer =
        Layer { stride: conv.stride, groups: Some(norm.groups()), eps: EPSILON as f32, relu, isa };
    let affine = [norm.weight.val(), norm.bias.val()];
    norm.check_batch(x.dims()[0]);
    let (out, [mean, variance]) = fused::with_batch_statistics(x, weight, affine, skip, layer);
    let [n, h, w, _] = out.dims();
    norm.track(mean, variance, n / norm.groups() * h * w);
    out
}

/// With stock operations, on any device.
fn compose(x: Tensor<4>, conv: &Conv, norm: &mut BatchNorm, then: Then, mode: Mode) -> Tensor<4> {
    // Permuting is free: between two of these calls the memory simply stays NCHW.
    finish(norm.forward_nchw(conv.forward_nchw(nhwc_to_nchw(x)), mode), then)
}

/// From NCHW to NHWC, by way of what [`Then`] says.
fn finish(y: Tensor<4>, then: Then) -> Tensor<4> {
    match then {
        Then::Nothing => nchw_to_nhwc(y),
        Then::Relu => nchw_to_nhwc(relu(y)),
        Then::AddRelu(skip) => nchw_to_nhwc(relu(y + nhwc_to_nchw(skip))),
    }
}

/// Convolution, normalisation, ReLU and a 3x3 max-pool with stride 2 and padding 1; in evaluation
/// as one operation, where there are kernels for it.
///
/// # Shapes
/// `[N, H, W, in]` to `[N, ceil(H' / 2), ceil(W' / 2), out]` of a convolution's `[N, H', W', out]`.
///
/// # Panics
/// As [`conv_bn_act`].
pub fn conv_norm_relu_pool(
    x: Tensor<4>,
    conv: &Conv,
    norm: &mut ConvNorm,
    mode: Mode,
) -> Tensor<4> {
    let isa = fused::isa(&x.device());
    let plain = !x.is_autodiff() && !conv.weight.val().is_autodiff();
    match (isa, mode, &*norm) {
        (Some(isa), Mode::Eval, ConvNorm::Batch(norm)) if plain => {
            fused_eval::run(x, conv, norm, None, (After::ReluMaxPool, isa))
        }
        _ => max_pool(conv_norm_act(x, conv, norm, Then::Relu, mode)),
    }
}

/// 3x3 max-pool with stride 2 and padding 1.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, ceil(H / 2), ceil(W / 2), C]`.
fn max_pool(x: Tensor<4>) -> Tensor<4> {
    match fused::isa(&x.device()) {
        Some(isa) => fused_pool::max_pool(x, isa),
        None => compose_max_pool(x),
    }
}

fn compose_max_pool(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
    nchw_to_nhwc(max_pool2d(nhwc_to_nchw(x), options))
}

/// Mean over all positions.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, C]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<2> {
    match fused::isa(&x.device()) {
        Some(isa) => fused_pool::average_pool(x, isa),
        None => compose_average_pool(x),
    }
}

fn compose_average_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, h, w, c] = x.dims();
    x.reshape([n, h * w, c]).mean_dim(1).reshape([n, c])
}

fn nhwc_to_nchw(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

fn nchw_to_nhwc(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::TensorLeaf;
    use crate::rng::{Purpose, stream};

    /// A layer and its input, drawn from `seed`.
    struct Case {
        x: Tensor<4>,
        skip: Tensor<4>,
        cotangent: Tensor<4>,
        conv: Conv,
        norm: BatchNorm,
    }

    /// Sizes of a case: batch, input side, channels in and out, kernel, stride, groups.
    type Sizes = [usize; 7];

    const SIZES: [Sizes; 7] = [
        [8, 12, 3, 5, 3, 1, 1],
        [8, 12, 16, 16, 3, 1, 4],
        [4, 9, 8, 24, 3, 2, 2],
        [4, 7, 24, 8, 1, 1, 1],
        [6, 7, 8, 16, 1, 2, 3],
        [2, 15, 3, 8, 7, 2, 1],
        [24, 1, 40, 33, 3, 1, 2],
    ];

    fn case(seed: u64, [n, side, cin, cout, kernel, stride, groups]: Sizes) -> Case {
        let device = Device::flex().autodiff();
        let rng = &mut stream(seed, Purpose::Weights, 0);
        let out = side.div_ceil(stride);
        let x = init::normal([n, side, side, cin], 1.0, rng, &device).require_grad();
        let skip = init::normal([n, out, out, cout], 1.0, rng, &device).require_grad();
        let cotangent = init::normal([n, out, out, cout], 1.0, rng, &device);
        let conv = Conv::new(cin, cout, kernel, stride, rng, &device);
        let mut norm = BatchNorm::new(cout, groups, &device);
        norm.weight = Param::new(init::normal([cout], 0.3, rng, &device) + 1.0);
        norm.bias = Param::new(init::normal([cout], 0.3, rng, &device));
        Case { x, skip, cotangent, conv, norm }
    }

    /// Output, running statistics, and gradients of x, skip, weight, scale and shift.
    fn run(case: Case, then: impl Fn(Tensor<4>) -> Then, isa: Option<Isa>) -> Vec<Vec<f32>> {
        let Case { x, skip, cotangent, conv, mut norm } = case;
        let then = then(skip.clone());
        let out = match isa {
            Some(isa) => run_fused(x.clone(), &conv, &mut norm, then, Mode::Train, isa),
            None => compose(x.clone(), &conv, &mut norm, then, Mode::Train),
        };
        let gradients = (out.clone() * cotangent).sum().backward();
        let param = |leaf: &dyn TensorLeaf| leaf.gradient(&gradients).map(to_host);
        let all = [
            Some(to_host(out)),
            Some(to_host(norm.running_mean.val())),
            Some(to_host(norm.running_var.val())),
            x.grad(&gradients).map(to_host),
            skip.grad(&gradients).map(to_host),
            param(&conv.weight),
            param(&norm.weight),
            param(&norm.bias),
        ];
        all.map(Option::unwrap_or_default).to_vec()
    }

    /// Two f32 computations of one layer, in different orders and one with Winograd, differ by a few
    /// roundings of its largest value. A ReLU mask may flip where its input is within rounding of
    /// zero; the seeds are ones where none does.
    fn assert_equal(fused: &[Vec<f32>], composed: &[Vec<f32>], what: &str) {
        for (i, (a, b)) in fused.iter().zip(composed).enumerate() {
            assert_eq!(a.len(), b.len(), "{what}, output {i}");
            let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
            assert!(off < 2e-5, "{what}, output {i}: off by {off:.1e}");
        }
    }

    #[test]
    fn fused_layers_equal_the_composition_with_all_gradients() {
        for sizes in SIZES {
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
                let both = |then: fn(Tensor<4>) -> Then, what: &str| {
                    let fused = run(case(1, sizes), then, Some(isa));
                    let composed = run(case(1, sizes), then, None);
                    assert_equal(&fused, &composed, &format!("{sizes:?}, {isa:?}, {what}"));
                };
                both(|_| Then::Nothing, "nothing");
                both(|_| Then::Relu, "relu");
                both(Then::AddRelu, "add, relu");
            }
        }
    }

    /// A leaf of the same values that lies in memory in another order.
    fn scattered<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
        let stored = x.clone().swap_dims(0, 1).into_data();
        Tensor::from_data(stored, &x.device()).swap_dims(0, 1).require_grad()
    }

    #[test]
    fn inputs_need_not_be_contiguous() {
        let isa = Some(Isa::best());
        for sizes in SIZES {
            let Case { x, skip, cotangent, conv, norm } = case(1, sizes);
            let [x, skip, cotangent] = [x, skip, cotangent].map(|part| scattered(&part));
            let weight = Param::new(scattered(&conv.weight.val()));
            let views = Case { x, skip, cotangent, conv: Conv { weight, ..conv }, norm };
            let found = run(views, Then::AddRelu, isa);
            assert!(found == run(case(1, sizes), Then::AddRelu, isa), "{sizes:?}");
        }
    }

    #[test]
    fn fused_evaluation_equals_the_composition() {
        for sizes in SIZES {
            let plain = |case: Case| {
                let Case { x, skip, conv, mut norm, .. } = case;
                norm.track(
                    norm.weight.val().repeat_dim(0, sizes[6]), // any other statistics
                    norm.weight.val().square().repeat_dim(0, sizes[6]),
                    50,
                );
                let frozen = |param: Tensor<1>| Param::new(param.without_autodiff());
                norm.weight = frozen(norm.weight.val());
                norm.bias = frozen(norm.bias.val());
                let conv = Conv {
                    weight: Param::new(conv.weight.val().without_autodiff()),
                    stride: conv.stride,
                };
                (x.without_autodiff(), skip.without_autodiff(), conv, norm)
            };
            let (x, skip, conv, mut norm) = plain(case(2, sizes));
            let then = || Then::AddRelu(skip.clone());
            let before = to_host(norm.running_var.val());
            let fused = run_fused(x.clone(), &conv, &mut norm, then(), Mode::Eval, Isa::best());
            let composed = compose(x.clone(), &conv, &mut norm, then(), Mode::Eval);
            assert_equal(&[to_host(fused)], &[to_host(composed)], &format!("{sizes:?}"));
            let after = (After::ReluMaxPool, Isa::best());
            let fused = fused_eval::run(x.clone(), &conv, &norm, None, after);
            let composed = compose_max_pool(compose(x, &conv, &mut norm, Then::Relu, Mode::Eval));
            assert_eq!(fused.dims(), composed.dims());
            assert_equal(&[to_host(fused)], &[to_host(composed)], &format!("{sizes:?}, pooled"));
            assert_eq!(to_host(norm.running_var.val()), before, "evaluation moves no statistics");
        }
    }

    /// What a pooling returns, and the gradient of the sum of its squares.
    fn pooled<const D: usize>(
        x: &Tensor<4>,
        pool: impl Fn(Tensor<4>) -> Tensor<D>,
    ) -> [Vec<f32>; 2] {
        let x = x.clone().require_grad();
        let y = pool(x.clone());
        let gradients = (y.clone() * y.clone()).sum().backward();
        [to_host(y), to_host(x.grad(&gradients).unwrap())]
    }

    #[test]
    fn fused_pooling_equals_the_composition_with_its_gradient() {
        let device = Device::flex().autodiff();
        let rng = &mut stream(4, Purpose::Weights, 0);
        for (n, side, channels) in [(2, 7, 5), (3, 8, 16), (1, 1, 3), (2, 2, 33)] {
            let x = init::normal([n, side, side, channels], 1.0, rng, &device);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
                let label = format!("{n} maps of {side}x{side}x{channels}, {isa:?}");
                let fused = pooled(&x, |x| fused_pool::max_pool(x, isa));
                let view = scattered(&x);
                assert_eq!(fused, pooled(&view, |x| fused_pool::max_pool(x, isa)), "{label}");
                assert_eq!(fused, pooled(&x, compose_max_pool), "{label}");
                // A mean of 64 values of size 1, summed in another order.
                let fused = pooled(&x, |x| fused_pool::average_pool(x, isa));
                assert_eq!(fused, pooled(&view, |x| fused_pool::average_pool(x, isa)), "{label}");
                let composed = pooled(&x, compose_average_pool);
                for (fused, composed) in fused.iter().flatten().zip(composed.iter().flatten()) {
                    assert!((fused - composed).abs() < 1e-6, "{label}: {fused}, {composed}");
                }
            }
        }
    }

    #[test]
    fn layers_without_batch_norm_equal_their_composition() {
        for sizes in SIZES {
            let Case { x, skip, conv, norm, cotangent } = case(3, sizes);
            let bias = norm.bias.val();
            let y =
                conv.forward_nchw(nhwc_to_nchw(x.clone())) + bias.clone().reshape([1, -1, 1, 1]);
            let expected = finish(y, Then::AddRelu(skip.clone()));
            let found = conv_act(x.clone(), &conv, Some(bias.clone()), Then::AddRelu(skip.clone()));
            let of = |out: Tensor<4>| {
                let gradients = (out.clone() * cotangent.clone()).sum().backward();
                let gradient = |g: Option<Vec<f32>>| g.expect("a gradient");
                [
                    to_host(out.without_autodiff()),
                    gradient(x.grad(&gradients).map(to_host)),
                    gradient(skip.grad(&gradients).map(to_host)),
                    gradient(conv.weight.val().grad(&gradients).map(to_host)),
                    gradient(bias.grad(&gradients).map(to_host)),
                ]
            };
            for (found, expected) in of(found).iter().zip(&of(expected)) {
                let scale = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
                let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
                let off = off.fold(0.0, f32::max) / scale;
                assert!(off < 2e-5, "{sizes:?}: off by {off:.1e}");
            }
        }
    }

    #[test]
    fn no_gradient_is_computed_for_a_constant_input() {
        let Case { x, skip, cotangent, conv, mut norm } = case(3, SIZES[1]);
        let x = x.without_autodiff();
        let then = Then::AddRelu(skip.without_autodiff());
        let out = run_fused(x.clone(), &conv, &mut norm, then, Mode::Train, Isa::best());
        let gradients = (out * cotangent).sum().backward();
        assert!(x.grad(&gradients).is_none());
        assert!(conv.weight.gradient(&gradients).is_some());
    }
}
