//! Updates of parameters in one pass over memory.
//!
//! Each function takes one parameter's slices; parameters below the cost of starting threads are
//! updated on the calling thread, so one call per parameter is cheap.

mod adamw;
mod lars;
mod scalar;
#[cfg(test)]
mod tests;
mod update;

pub use adamw::{AdamWConfig, adamw};
pub use lars::{LarsConfig, Trust, TrustNorm, lars};

use crate::Isa;
use crate::threads::{Disjoint, for_each};
use update::{EmaChunk, SgdChunk};

/// Elements per job: far above the cost of handing one out.
const CHUNK: usize = 32 << 10;

/// `key <- momentum * key + (1 - momentum) * query`: He et al. 2020 (arXiv 1911.05722), Eq. 2.
///
/// # Panics
/// When the slices differ in length.
pub fn ema(isa: Isa, key: &mut [f32], query: &[f32], momentum: f32) {
    assert_eq!(key.len(), query.len(), "key and query parameters pair up");
    crate::threads::for_each_chunk(key, CHUNK, |i, key| {
        let query = &query[i * CHUNK..][..key.len()];
        isa.run(EmaChunk { key, query, momentum });
    });
}

/// Hyper-parameters of [`sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Learning rate; outside the momentum buffer.
    pub lr: f32,
    /// Momentum, 0 for none.
    pub momentum: f32,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
}

/// One step of SGD with PyTorch's semantics: `v <- momentum v + (g + weight_decay p)`, then `p <- p
/// - lr v`.
///
/// PyTorch begins with `v = g + weight_decay p`, which is what a velocity of zeros gives.
///
/// # Panics
/// When the slices differ in length.
pub fn sgd(isa: Isa, param: &mut [f32], grad: &[f32], velocity: &mut [f32], config: SgdConfig) {
    let len = param.len();
    assert!(grad.len() == len && velocity.len() == len, "parameter, gradient and velocity pair up");
    let (param, velocity) = (Disjoint::new(param), Disjoint::new(velocity));
    for_each(len.div_ceil(CHUNK), |i| {
        let range = i * CHUNK..len.min((i + 1) * CHUNK);
        let grad = &grad[range.clone()];
        // SAFETY: chunk `i` of both is touched by job `i` alone.
        let (param, velocity) = unsafe { (param.slice(range.clone()), velocity.slice(range)) };
        let SgdConfig { lr: rate, momentum, weight_decay: decay } = config;
        isa.run(SgdChunk { param, grad, velocity, decay, take: 1.0, momentum, rate });
    });
}
