//! From tensors in memory to a module.

use crate::nn::{Leaf, Module, TensorLeaf, for_each_leaf};
use burn::tensor::{Device, Tensor};
use moco_weights::{Named, Values};

/// Gives every tensor of `module` the values of its name. What `tensors` holds beyond is an error too:
/// then the network is not the one that the tensors are of.
pub(super) fn whole(
    module: &mut dyn Module,
    tensors: &Named,
    device: &Device,
) -> Result<(), String> {
    let (mut problem, mut used) = (None, 0);
    for_each_leaf(module, |name, leaf| {
        let (Leaf::Param(tensor) | Leaf::Buffer(tensor)) = leaf else { return };
        match set(tensor, name, tensors.get(name), device) {
            Ok(()) => used += 1,
            Err(reason) => drop(problem.get_or_insert(reason)),
        }
    });
    match problem {
        Some(reason) => Err(reason),
        None if used < tensors.len() => {
            Err(format!("{} of the tensors have no place in it", tensors.len() - used))
        }
        None => Ok(()),
    }
}

/// Gives one tensor its values, if these are there and of its shape.
pub(super) fn set(
    tensor: &mut dyn TensorLeaf,
    name: &str,
    values: Option<&Values>,
    device: &Device,
) -> Result<(), String> {
    let values = values.ok_or_else(|| format!("`{name}` is missing"))?;
    let shape = tensor.shape();
    if values.shape != shape {
        return Err(format!("`{name}` is {:?}, and the network has {shape:?}", values.shape));
    }
    tensor.set_flat(Tensor::from_data(values.data.as_slice(), device));
    Ok(())
}
