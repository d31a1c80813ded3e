//! Updates of parameters in one pass over memory.
//!
//! Each function takes one parameter's slices; parameters below the cost of starting threads are
//! updated on the calling thread, so one call per parameter is cheap.

mod scalar;
mod update;

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
        isa.run(SgdChunk { param, grad, velocity, config });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, isas, max_abs_diff};

    #[test]
    fn updates_agree_with_the_plain_loops() {
        let mut rng = Rng::new(30);
        for len in [0, 1, 7, 16, 33, 1000, CHUNK + 5] {
            let (start, other, speed) = (rng.normals(len), rng.normals(len), rng.normals(len));
            let config = SgdConfig { lr: 0.03, momentum: 0.9, weight_decay: 1e-4 };
            let (mut p, mut v) = (start.clone(), speed.clone());
            scalar::sgd(&mut p, &other, &mut v, config);
            let mut k = start.clone();
            scalar::ema(&mut k, &other, 0.999);
            for isa in isas() {
                let (mut param, mut velocity, mut key) =
                    (start.clone(), speed.clone(), start.clone());
                sgd(isa, &mut param, &other, &mut velocity, config);
                ema(isa, &mut key, &other, 0.999);
                // A fused multiply-add saves a rounding: one or two units in the last place of
                // values below 8.
                for (got, expected) in [(&param, &p), (&velocity, &v), (&key, &k)] {
                    assert!(max_abs_diff(got, expected) <= 1e-6, "{isa:?} {len}");
                }
            }
        }
    }

    #[test]
    fn momentum_one_keeps_the_key_and_zero_copies_the_query() {
        let (start, query) = (vec![1.5f32; 40], vec![-2.0f32; 40]);
        for isa in isas() {
            let mut key = start.clone();
            ema(isa, &mut key, &query, 1.0);
            assert_eq!(key, start);
            ema(isa, &mut key, &query, 0.0);
            assert_eq!(key, query);
        }
    }
}
