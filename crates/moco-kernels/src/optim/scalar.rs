//! The definitions: plain loops.
#![cfg(test)]

use super::{AdamWConfig, LarsConfig, SgdConfig, TrustNorm};

pub(crate) fn ema(key: &mut [f32], query: &[f32], momentum: f32) {
    for i in 0..key.len() {
        key[i] = momentum * key[i] + (1.0 - momentum) * query[i];
    }
}

pub(crate) fn sgd(param: &mut [f32], grad: &[f32], velocity: &mut [f32], config: SgdConfig) {
    for i in 0..param.len() {
        let g = grad[i] + config.weight_decay * param[i];
        velocity[i] = config.momentum * velocity[i] + g;
        param[i] -= config.lr * velocity[i];
    }
}

/// On `[param, mean, square]`, in f64.
pub(crate) fn adamw(state: &mut [Vec<f64>; 3], grad: &[f32], step: i32, config: AdamWConfig) {
    let AdamWConfig { lr, beta1, beta2, eps, weight_decay } = config;
    let [p, m, v] = state;
    for i in 0..p.len() {
        let g = f64::from(grad[i]);
        p[i] *= 1.0 - lr * weight_decay;
        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
        let root = (v[i] / (1.0 - beta2.powi(step))).sqrt();
        p[i] -= lr * m[i] / (1.0 - beta1.powi(step)) / (root + eps);
    }
}

/// On `[param, velocity]`, in f64, for norms that are not zero.
pub(crate) fn lars(state: &mut [Vec<f64>; 2], grad: &[f32], config: LarsConfig) {
    let [lr, momentum, decay] = [config.lr, config.momentum, config.weight_decay].map(f64::from);
    let [p, v] = state;
    let decayed: Vec<f64> = p.iter().zip(grad).map(|(p, &g)| f64::from(g) + decay * p).collect();
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let ratio = config.trust.map_or(1.0, |trust| {
        let plain: Vec<f64> = grad.iter().map(|&g| f64::from(g)).collect();
        let size = match trust.norm {
            TrustNorm::Decayed => norm(&decayed),
            TrustNorm::Sum => norm(&plain) + decay * norm(p),
        };
        let ratio = f64::from(trust.coefficient) * norm(p) / (size + f64::from(trust.eps));
        if trust.clip { (ratio / lr).min(1.0) } else { ratio }
    });
    for i in 0..p.len() {
        let d = ratio * decayed[i];
        if config.lr_in_buffer {
            v[i] = momentum * v[i] + lr * d;
            p[i] -= v[i];
        } else {
            v[i] = momentum * v[i] + d;
            p[i] -= lr * v[i];
        }
    }
}
