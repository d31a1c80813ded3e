//! The moving average that turns a trained encoder into a slowly changing one.

use crate::nn::{Module, for_each_param, tensors};
use crate::ops::update::average_all;

/// `theta_k <- m theta_k + (1 - m) theta_q` over parameters: MoCo Eq. 2 (arXiv 1911.05722).
///
/// Buffers are left alone: the key encoder's BatchNorm statistics come from its own forward
/// passes, as in the reference.
///
/// # Panics
/// If `key` has a parameter that `query` lacks.
pub fn update(key: &mut dyn Module, query: &mut dyn Module, m: f64) {
    let query = tensors(query);
    let mut pairs = Vec::new();
    for_each_param(key, |name, theta_k| pairs.push((theta_k.take_flat(), query[name].clone())));
    let mut mixed = average_all(pairs, m).into_iter();
    for_each_param(key, |_, theta_k| theta_k.set_flat(mixed.next().expect("one for each")));
}
