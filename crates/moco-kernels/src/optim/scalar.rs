//! The definitions: plain loops.
#![cfg(test)]

use super::SgdConfig;

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
