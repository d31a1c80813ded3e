//! Updates by our CPU kernels: one pass over memory, in place where the handle is the only one.

use crate::ops::flex::{contiguous, slice, slice_mut};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::optim::{self, AdamWConfig, LarsConfig, SgdConfig};

pub(super) fn average(theta: Tensor<1>, target: Tensor<1>, m: f64, isa: Isa) -> Tensor<1> {
    let (theta, target) = (theta.into_dispatch(), target.into_dispatch());
    Tensor::from_dispatch(<Dispatch as UpdateOps>::average(theta, target, m as f32, isa))
}

pub(super) fn sgd(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    [lr, momentum, weight_decay]: [f64; 3],
    isa: Isa,
) -> (Tensor<1>, Tensor<1>) {
    let config =
        SgdConfig { lr: lr as f32, momentum: momentum as f32, weight_decay: weight_decay as f32 };
    let [p, g, v] = [p, g, v].map(Tensor::into_dispatch);
    let (p, v) = <Dispatch as UpdateOps>::sgd_step(p, g, v, config, isa);
    (Tensor::from_dispatch(p), Tensor::from_dispatch(v))
}

pub(super) fn adamw(
    p: Tensor<1>,
    g: Tensor<1>,
    [mean, square]: [Tensor<1>; 2],
    steps: u64,
    config: AdamWConfig,
    isa: Isa,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let [p, g, mean, square] = [p, g, mean, square].map(Tensor::into_dispatch);
    let (p, mean, square) =
        <Dispatch as UpdateOps>::adamw_step(p, g, mean, square, steps, config, isa);
    (Tensor::from_dispatch(p), [mean, square].map(Tensor::from_dispatch))
}

pub(super) fn lars(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    config: LarsConfig,
    isa: Isa,
) -> (Tensor<1>, Tensor<1>) {
    let [p, g, v] = [p, g, v].map(Tensor::into_dispatch);
    let (p, v) = <Dispatch as UpdateOps>::lars_step(p, g, v, config, isa);
    (Tensor::from_dispatch(p), Tensor::from_dispatch(v))
}

#[backend_extension(Flex)]
trait UpdateOps: Backend {
    fn average(
        theta: FloatTensor<Self>,
        target: FloatTensor<Self>,
        m: f32,
        isa: Isa,
    ) -> FloatTensor<Self>;

    fn sgd_step(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        v: FloatTensor<Self>,
        config: SgdConfig,
        isa: Isa,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn adamw_step(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        steps: u64,
        config: AdamWConfig,
        isa: Isa,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn lars_step(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        v: FloatTensor<Self>,
        config: LarsConfig,
        isa: Isa,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl UpdateOps for Flex {
    fn average(theta: FlexTensor, target: FlexTensor, m: f32, isa: Isa) -> FlexTensor {
        let (mut theta, target) = (contiguous(theta), contiguous(target));
        optim::ema(isa, slice_mut(&mut theta), slice(&target), m);
        theta
    }

    fn sgd_step(
        p: FlexTensor,
        g: FlexTensor,
        v: FlexTensor,
        config: SgdConfig,
        isa: Isa,
    ) -> (FlexTensor, FlexTensor) {
        let (mut p, g, mut v) = (contiguous(p), contiguous(g), contiguous(v));
        optim::sgd(isa, slice_mut(&mut p), slice(&g), slice_mut(&mut v), config);
        (p, v)
    }

    fn adamw_step(
        p: FlexTensor,
        g: FlexTensor,
        mean: FlexTensor,
        square: FlexTensor,
        steps: u64,
        config: AdamWConfig,
        isa: Isa,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [mut p, g, mut mean, mut square] = [p, g, mean, square].map(contiguous);
        let moments = [slice_mut(&mut mean), slice_mut(&mut square)];
        optim::adamw(isa, slice_mut(&mut p), slice(&g), moments, steps, config);
        (p, mean, square)
    }

    fn lars_step(
        p: FlexTensor,
        g: FlexTensor,
        v: FlexTensor,
        config: LarsConfig,
        isa: Isa,
    ) -> (FlexTensor, FlexTensor) {
        let [mut p, g, mut v] = [p, g, v].map(contiguous);
        optim::lars(isa, slice_mut(&mut p), slice(&g), slice_mut(&mut v), config);
        (p, v)
    }
}
