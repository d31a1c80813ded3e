//! Convolution with BatchNorm's running statistics, and what follows it, as one operation: what
//! [`super::fused`] has for training, in evaluation. No gradient flows.

use super::conv::Conv;
use super::frozen::Frozen;
use super::fused::{Optional, contiguous, conv_shape, slice, tensor};
use super::fused_pool::{out_dims, pool_shape};
use super::norm::{BatchNorm, EPSILON};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::conv::{
    BnParams, Norm, PreparedConv, conv_bn_act_forward, conv_bn_relu_max_pool,
};
use moco_kernels::{Isa, Weights};

/// What follows BatchNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Relu,
    /// And a 3x3 max-pool with stride 2 and padding 1.
    ReluMaxPool,
}

/// Settings of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub stride: usize,
    pub after: After,
    pub isa: Isa,
}

/// The layer's output. Every tensor must be on the plain device; a skip connection is added before
/// the ReLU, and does not go with a pool. Of frozen weights, what is prepared is kept.
pub(super) fn run(
    x: Tensor<4>,
    conv: &Conv,
    norm: &BatchNorm,
    skip: Option<Tensor<4>>,
    (after, isa): (After, Isa),
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), conv.weight.val().into_dispatch());
    let (norm, skip) = (RunningNorm::of(norm), Optional::of(skip));
    let layer = Layer { stride: conv.stride(), after, isa };
    let frozen = conv.weight.frozen();
    Tensor::from_dispatch(<Dispatch as EvalOps>::conv_bn_act(x, weight, frozen, norm, skip, layer))
}

/// BatchNorm with its running statistics, `[C]` each.
#[derive(ExtensionType)]
pub struct RunningNorm<B: Backend> {
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
}

impl RunningNorm<Dispatch> {
    fn of(norm: &BatchNorm) -> Self {
        Self {
            gamma: norm.weight.val().into_dispatch(),
            beta: norm.bias.val().into_dispatch(),
            mean: norm.running_mean.val().into_dispatch(),
            variance: norm.running_var.val().into_dispatch(),
        }
    }
}

#[backend_extension(Flex)]
trait EvalOps: Backend {
    fn conv_bn_act(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        frozen: Option<Frozen>,
        #[extension_type] norm: RunningNorm<Self>,
        #[extension_type] skip: Optional<Self>,
        layer: Layer,
    ) -> FloatTensor<Self>;
}

impl EvalOps for Flex {
    fn conv_bn_act(
        x: FlexTensor,
        weight: FlexTensor,
        frozen: Option<Frozen>,
        norm: RunningNorm<Self>,
        skip: Optional<Self>,
        Layer { stride, after, isa }: Layer,
    ) -> FlexTensor {
        let (x, weight, skip) = (contiguous(x), contiguous(weight), skip.contiguous());
        let shape = conv_shape(&x, &weight, stride);
        let values = slice(&weight);
        let prepared = frozen.map(|frozen| {
            let suits = |prepared: &PreparedConv| prepared.suits(isa, &shape);
            frozen.prepared(suits, || PreparedConv::new(isa, &shape, values))
        });
        let weight = Weights { values, prepared: prepared.as_deref() };
        let RunningNorm { gamma, beta, mean, variance } = norm;
        let [gamma, beta, mean, var] = &[gamma, beta, mean, variance].map(contiguous);
        let norm = Norm::Running { mean: slice(mean), var: slice(var) };
        let bn = BnParams { gamma: slice(gamma), beta: slice(beta), eps: EPSILON as f32, norm };
        let x = slice(&x);
        let maps = [shape.n, shape.out_h(), shape.out_w(), shape.cout];
        if after == After::ReluMaxPool {
            let pool = pool_shape(maps);
            let out = conv_bn_relu_max_pool(isa, &shape, &pool, x, weight, &bn);
            return tensor(out, out_dims(&pool));
        }
        let (skip, relu) = (skip.as_ref().map(slice), after == After::Relu);
        let output = conv_bn_act_forward(isa, &shape, x, weight, &bn, skip, relu, false);
        tensor(output.out, maps)
    }
}
