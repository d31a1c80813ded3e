//! Updates by Burn's operations.

use burn::tensor::Tensor;
use moco_kernels::optim::{AdamWConfig, LarsConfig, Trust, TrustNorm};

pub(super) fn average(theta: Tensor<1>, target: Tensor<1>, m: f64) -> Tensor<1> {
    theta * m + target * (1.0 - m)
}

pub(super) fn sgd(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    [lr, momentum, weight_decay]: [f64; 3],
) -> (Tensor<1>, Tensor<1>) {
    let v = v * momentum + g + p.clone() * weight_decay;
    (p - v.clone() * lr, v)
}

pub(super) fn adamw(
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

pub(super) fn lars(
    p: Tensor<1>,
    g: Tensor<1>,
    v: Tensor<1>,
    config: LarsConfig,
) -> (Tensor<1>, Tensor<1>) {
    let (lr, momentum) = (f64::from(config.lr), f64::from(config.momentum));
    let decayed = g.clone() + p.clone() * config.weight_decay;
    let scaled = match config.trust {
        Some(trust) => decayed * ratio(p.clone(), g, trust, config),
        None => decayed,
    };
    let (scaled, outside) = if config.lr_in_buffer { (scaled * lr, 1.0) } else { (scaled, lr) };
    let v = v * momentum + scaled;
    (p - v.clone() * outside, v)
}

/// What a gradient with weight decay is multiplied with: the length of the weights over its own, by
/// the coefficient. Zero weights leave it as it is.
fn ratio(p: Tensor<1>, g: Tensor<1>, trust: Trust, config: LarsConfig) -> Tensor<1> {
    let weight_decay = f64::from(config.weight_decay);
    let weight = length(p.clone());
    let (denominator, still) = match trust.norm {
        // These add the two lengths instead of taking that of the sum, and leave alone what has no
        // gradient.
        TrustNorm::Sum => {
            let g = length(g);
            let sum = g.clone() + weight.clone() * weight_decay + f64::from(trust.eps);
            (sum, (g.equal_elem(0.0), 0.0))
        }
        TrustNorm::Decayed => {
            let update = length(g + p * weight_decay);
            (update.clone() + f64::from(trust.eps), (update.equal_elem(0.0), 1.0))
        }
    };
    let ratio = weight.clone() * f64::from(trust.coefficient) / denominator;
    let ratio = if trust.clip { (ratio / f64::from(config.lr)).clamp_max(1.0) } else { ratio };
    ratio.mask_fill(still.0, still.1).mask_fill(weight.equal_elem(0.0), 1.0)
}

/// Euclidean length, `[1]`.
fn length(x: Tensor<1>) -> Tensor<1> {
    x.square().sum().sqrt()
}
