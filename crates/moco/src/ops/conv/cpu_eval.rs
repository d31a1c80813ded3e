//! Convolution with given statistics, and what follows it, by our CPU kernels. No gradient flows.

use super::Filter;
use super::cpu::conv_shape;
use crate::ops::batch_norm::ByRunning;
use crate::ops::flex::{Optional, contiguous, slice, tensor};
use crate::ops::pool::cpu::{out_dims, pool_shape};
use crate::ops::{Epilogue, Frozen};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::conv::{
    BnParams, Norm, PreparedConv, conv_bn_act_forward, conv_bn_relu_max_pool,
};
use moco_kernels::{Isa, Weights};

/// Settings of a layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    stride: usize,
    eps: f32,
    relu: bool,
    /// And a 3x3 max-pool with stride 2 and padding 1.
    pool: bool,
    isa: Isa,
}

/// Every tensor must be on the plain device. Of frozen weights, what is prepared is kept.
pub(super) fn by_running(
    x: Tensor<4>,
    filter: Filter,
    norm: ByRunning,
    then: Epilogue,
    isa: Isa,
) -> Tensor<4> {
    let (then, pool) = then.split_pool();
    let (skip, relu) = then.skip_and_relu();
    let Filter { weight, stride, frozen } = filter;
    let layer = Layer { stride, eps: norm.epsilon as f32, relu, pool, isa };
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let (norm, skip) = (RunningNorm::of(norm), Optional::of(skip));
    Tensor::from_dispatch(<Dispatch as EvalOps>::conv_bn_act(x, weight, frozen, norm, skip, layer))
}

/// BatchNorm with its statistics, `[C]` each.
#[derive(ExtensionType)]
pub struct RunningNorm<B: Backend> {
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
}

impl RunningNorm<Dispatch> {
    fn of(norm: ByRunning) -> Self {
        Self {
            gamma: norm.scale.into_dispatch(),
            beta: norm.shift.into_dispatch(),
            mean: norm.mean.into_dispatch(),
            variance: norm.variance.into_dispatch(),
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
        Layer { stride, eps, relu, pool, isa }: Layer,
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
        let bn = BnParams { gamma: slice(gamma), beta: slice(beta), eps, norm };
        let x = slice(&x);
        let maps = [shape.n, shape.out_h(), shape.out_w(), shape.cout];
        if pool {
            let pool = pool_shape(maps);
            let out = conv_bn_relu_max_pool(isa, &shape, &pool, x, weight, &bn);
            return tensor(out, out_dims(&pool));
        }
        let skip = skip.as_ref().map(slice);
        let output = conv_bn_act_forward(isa, &shape, x, weight, &bn, skip, relu, false);
        tensor(output.out, maps)
    }
}
