//! The gradients of a whole batch, whose images pass the networks in parts: gradient caching (Gao et
//! al. 2021, arXiv 2101.06983, Sec. 3).
//!
//! A first pass keeps what the networks make of each part, and no graph. The loss of all images gives
//! the gradient at these outputs. A second pass computes each part again, now with its graph, and
//! carries its share of that gradient back to the weights. Memory is that of a part and of the outputs;
//! time is that of one more forward pass.
//!
//! The second pass repeats the first, drop-path included, and leaves running statistics as the first
//! left them. Only BatchNorm makes a difference to the whole batch: its statistics are those of a part.

use super::step::{Unread, scaled};
use crate::batch::Batch;
use crate::methods::{Compare, Method, Step};
use crate::nn::{Leaf, Module, for_each_leaf};
use crate::optim::NamedGradients;
use burn::tensor::{Tensor, s};
use std::collections::BTreeMap;

/// The loss of `batch`, this rank's share of a global one, computed in `parts`, and its gradients, times
/// `factor`.
///
/// The method compares its images with those of all ranks, as it does with a batch at once: what all
/// ranks take at a time is the same images for any number of ranks.
pub(super) fn gradients(
    method: &mut dyn Method,
    batch: Batch,
    step: Step,
    parts: usize,
    factor: Option<f64>,
) -> (Unread, NamedGradients) {
    let images = batch.indices.clone();
    let batches = batch.split(parts);
    let before = counters(method.student());
    let (embeddings, constants) = first_pass(comparing(method), &batches, step);

    let leaves: Vec<_> = embeddings.into_iter().map(|e| e.autodiff().require_grad()).collect();
    let output = comparing(method).compare(&images, leaves.clone(), constants);
    let at_outputs = scaled(output.loss.clone(), factor).backward();
    let mut unread = Unread::default();
    unread.add(output, 1.0);
    let cotangents: Vec<_> = leaves.iter().map(|leaf| leaf.grad(&at_outputs)).collect();

    let statistics = buffers(method.student());
    restore(method.student(), &before, &BTreeMap::new());
    let gradients = second_pass(method, &batches, &cotangents);
    restore(method.student(), &BTreeMap::new(), &statistics);
    (unread, gradients)
}

fn comparing(method: &mut dyn Method) -> &mut dyn Compare {
    method.as_compare().expect("a method that compares")
}

/// Embeddings and constants of all images, outside the graph.
fn first_pass(
    method: &mut dyn Compare,
    batches: &[Batch],
    mut step: Step,
) -> (Vec<Tensor<2>>, Vec<Tensor<2>>) {
    let (mut embeddings, mut constants) = (Vec::new(), Vec::new());
    for (part, batch) in batches.iter().enumerate() {
        step.part = part;
        let values = method.embed(batch).into_iter().map(Tensor::without_autodiff);
        embeddings.push(values.collect());
        constants.push(method.constants(batch, &step));
    }
    (joined(embeddings), joined(constants))
}

/// The outputs of the parts, one below the other.
fn joined(parts: Vec<Vec<Tensor<2>>>) -> Vec<Tensor<2>> {
    let count = parts.first().map_or(0, Vec::len);
    let of = |i: usize| parts.iter().map(|outputs| outputs[i].clone()).collect();
    (0..count).map(|i| Tensor::cat(of(i), 0)).collect()
}

/// Carries the gradient at the outputs back to the weights: it is that of the outputs' product with it.
fn second_pass(
    method: &mut dyn Method,
    batches: &[Batch],
    cotangents: &[Option<Tensor<2>>],
) -> NamedGradients {
    let mut gradients = NamedGradients::default();
    let mut start = 0;
    for batch in batches {
        let end = start + batch.indices.len();
        let outputs = comparing(method).embed(batch);
        let product = |(output, cotangent): (Tensor<2>, &Option<Tensor<2>>)| {
            let of_part = cotangent.clone()?.slice(s![start..end, ..]);
            Some((output * of_part).sum())
        };
        let sum = outputs.into_iter().zip(cotangents).filter_map(product).reduce(|a, b| a + b);
        if let Some(sum) = sum {
            gradients.add(method.student(), &sum.backward(), 1.0);
        }
        start = end;
    }
    gradients
}

/// The counters of a network, which drop-path draws by.
fn counters(network: &mut dyn Module) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for_each_leaf(network, |name, leaf| {
        if let Leaf::Counter(count) = leaf {
            all.insert(name.to_owned(), *count);
        }
    });
    all
}

/// The running statistics of a network, and what else is carried along. Handles, not copies.
fn buffers(network: &mut dyn Module) -> BTreeMap<String, Tensor<1>> {
    let mut all = BTreeMap::new();
    for_each_leaf(network, |name, leaf| {
        if let Leaf::Buffer(tensor) = leaf {
            all.insert(name.to_owned(), tensor.flat());
        }
    });
    all
}

/// Gives counters and buffers the values that are named.
fn restore(
    network: &mut dyn Module,
    counters: &BTreeMap<String, u64>,
    buffers: &BTreeMap<String, Tensor<1>>,
) {
    for_each_leaf(network, |name, leaf| match leaf {
        Leaf::Counter(count) => *count = counters.get(name).copied().unwrap_or(*count),
        Leaf::Buffer(tensor) => {
            if let Some(values) = buffers.get(name) {
                tensor.set_flat(values.clone());
            }
        }
        Leaf::Param(_) => (),
    });
}
