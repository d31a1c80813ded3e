//! Updates of flat parameters: one pass over memory where our CPU kernels run, stock operations
//! elsewhere. In place when the caller hands over the only handle.

use super::fused::{contiguous, isa, slice, slice_mut};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::optim::{self, SgdConfig};

/// `theta <- m theta + (1 - m) target`, of equal lengths, both on the plain device.
pub fn average(theta: Tensor<1>, target: Tensor<1>, m: f64) -> Tensor<1> {
    match isa(&theta.device()) {
        None => theta * m + target * (1.0 - m),
        Some(isa) => {
            let (theta, target) = (theta.into_dispatch(), target.into_dispatch());
            Tensor::from_dispatch(<Dispatch as UpdateOps>::average(theta, target, m as f32, isa))
        }
    }
}

/// One step of SGD, torch's semantics: `v <- mu v + g + wd p`, `p <- p - lr v`; returns `p` and
/// `v`. All of one length, on the plain device.
pub fn sgd_step(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    [lr, momentum, weight_decay]: [f64; 3],
) -> (Tensor<1>, Tensor<1>) {
    let Some(isa) = isa(&p.device()) else {
        let v = v * momentum + g + p.clone() * weight_decay;
        return (p - v.clone() * lr, v);
    };
    let config =
        SgdConfig { lr: lr as f32, momentum: momentum as f32, weight_decay: weight_decay as f32 };
    let [p, g, v] = [p, g, v].map(Tensor::into_dispatch);
    let (p, v) = <Dispatch as UpdateOps>::sgd_step(p, g, v, config, isa);
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
}
