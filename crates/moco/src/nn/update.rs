//! Updates of flat parameters: one pass over memory where our CPU kernels run, stock operations
//! elsewhere. In place when the caller hands over the only handle.

pub(crate) use super::fused::isa;
use super::fused::{contiguous, slice, slice_mut};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::optim::{self, AdamWConfig, LarsConfig, SgdConfig};

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

/// Update `steps` (from 1) of AdamW, torch's semantics: returns `p` and its two moments, the running
/// means of gradients and of their squares. All of one length, on the plain device.
pub fn adamw_step(
    p: Tensor<1>,
    g: Tensor<1>,
    [mean, square]: [Tensor<1>; 2],
    steps: u64,
    config: AdamWConfig,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let Some(isa) = isa(&p.device()) else {
        return compose_adamw(p, g, [mean, square], steps, config);
    };
    let [p, g, mean, square] = [p, g, mean, square].map(Tensor::into_dispatch);
    let (p, mean, square) =
        <Dispatch as UpdateOps>::adamw_step(p, g, mean, square, steps, config, isa);
    (Tensor::from_dispatch(p), [mean, square].map(Tensor::from_dispatch))
}

fn compose_adamw(
    p: Tensor<1>,
    g: Tensor<1>,
    [mean, square]: [Tensor<1>; 2],
    steps: u64,
    config: AdamWConfig,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let AdamWConfig { lr, beta1, beta2, eps, weight_decay } = config;
    let mean = mean * beta1 + g.clone() * (1.0 - beta1);
    let square = square * beta2 + g.square() * (1.0 - beta2);
    let bias = |beta: f64| 1.0 - beta.powf(steps as f64);
    let denominator = square.clone().sqrt() / bias(beta2).sqrt() + eps;
    let p = p * (1.0 - lr * weight_decay);
    let p = p - mean.clone() / denominator * (lr / bias(beta1));
    (p, [mean, square])
}

/// One step of LARS on a device that has `isa`; returns `p` and `v`. All of one length, on the
/// plain device.
pub(crate) fn lars_step(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::device::Device;

    /// Three steps of each; a few roundings of values near 1.
    #[test]
    fn adamw_equals_its_composition() {
        let config =
            AdamWConfig { lr: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        let tensor = |f: fn(f32) -> f32| {
            let values: Vec<f32> = (0..37).map(|i| f(i as f32)).collect();
            Tensor::<1>::from_data(values.as_slice(), &Device::flex())
        };
        let p = tensor(f32::sin);
        let zeros = || [p.zeros_like(), p.zeros_like()];
        let (mut fused, mut composed) = ((p.clone(), zeros()), (p.clone(), zeros()));
        for step in 1..=3 {
            let g = tensor(f32::cos) * f64::from(step as u32);
            fused = adamw_step(fused.0, g.clone(), fused.1, step, config);
            composed = compose_adamw(composed.0, g, composed.1, step, config);
            let all = |(p, [m, v]): &(Tensor<1>, [Tensor<1>; 2])| {
                [p, m, v].map(|t| to_host(t.clone())).concat()
            };
            for (a, b) in all(&fused).iter().zip(all(&composed)) {
                assert!((a - b).abs() < 1e-6, "step {step}: {a} {b}");
            }
        }
    }
}
