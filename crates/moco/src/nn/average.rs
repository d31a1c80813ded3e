//! Means over the ranks of a run, of what each has made of its share of a batch.

use super::module::{Leaf, Module, TensorLeaf, for_each_leaf};
use crate::batch::to_host;
use burn::tensor::Tensor;
use moco_peers::Peers;

/// Replaces flat tensors by their means over the ranks, in one exchange, which `what` names.
pub(crate) fn average<'a>(
    tensors: impl Iterator<Item = &'a mut Tensor<1>>,
    peers: Peers,
    what: &'static str,
) {
    if peers.alone() {
        return;
    }
    let tensors: Vec<&mut Tensor<1>> = tensors.collect();
    let mut values: Vec<f32> = Vec::new();
    tensors.iter().for_each(|tensor| values.extend(to_host((**tensor).clone())));
    peers.sum_f32(&mut values, what);
    let share = (peers.size() as f32).recip();
    values.iter_mut().for_each(|value| *value *= share);
    let mut rest = values.as_slice();
    for tensor in tensors {
        let (own, others) = rest.split_at(tensor.dims()[0]);
        *tensor = Tensor::from_data(own, &tensor.device());
        rest = others;
    }
}

/// Replaces the running statistics of every BatchNorm in `module` by their means over the ranks, each of
/// which has moved its own by its share of the batch.
pub(crate) fn average_statistics(module: &mut dyn Module, peers: Peers) {
    if peers.alone() {
        return;
    }
    let mut statistics = Vec::new();
    for_each_statistic(module, |tensor| statistics.push(tensor.flat()));
    average(statistics.iter_mut(), peers, "running statistics");
    let mut means = statistics.into_iter();
    for_each_statistic(module, |tensor| {
        tensor.set_flat(means.next().expect("as many as were taken"));
    });
}

fn for_each_statistic(module: &mut dyn Module, mut see: impl FnMut(&mut dyn TensorLeaf)) {
    for_each_leaf(module, |name, leaf| {
        let is_statistic = name.ends_with("running_mean") || name.ends_with("running_var");
        if let (Leaf::Buffer(tensor), true) = (leaf, is_statistic) {
            see(tensor);
        }
    });
}
