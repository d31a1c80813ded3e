//! The two kinds of tensor that a module owns.

use super::module::{Leaf, Module, TensorLeaf, Visitor};
use burn::tensor::{Gradients, Tensor};

/// A tensor that the optimiser trains and the moving average follows.
///
/// On an autodiff device it is a leaf of the graph; on a plain device it is a constant, which is
/// how key encoders and frozen copies are held.
#[derive(Clone, Debug)]
pub struct Param<const D: usize>(Tensor<D>);

impl<const D: usize> Param<D> {
    /// Takes `value` as a graph leaf if it lives on an autodiff device.
    pub fn new(value: Tensor<D>) -> Self {
        Self(as_leaf(value))
    }

    /// The tensor, ready to compute with.
    pub fn val(&self) -> Tensor<D> {
        self.0.clone()
    }
}

/// A tensor that is saved with the module but neither trained nor averaged.
#[derive(Clone, Debug)]
pub struct Buffer<const D: usize>(Option<Tensor<D>>);

impl<const D: usize> Buffer<D> {
    /// Takes `value`, without any autodiff association.
    pub fn new(value: Tensor<D>) -> Self {
        Self(Some(value.without_autodiff()))
    }

    /// The tensor.
    pub fn val(&self) -> Tensor<D> {
        self.0.clone().expect("a buffer is only empty inside `update`")
    }

    /// Replaces the tensor by `f` of it. `f` holds the only handle, so it can work in place.
    pub fn update(&mut self, f: impl FnOnce(Tensor<D>) -> Tensor<D>) {
        self.0 = self.0.take().map(|value| f(value).without_autodiff());
    }
}

impl<const D: usize> Module for Param<D> {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Param(self));
    }
}

impl<const D: usize> Module for Buffer<D> {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Buffer(self));
    }
}

impl<const D: usize> TensorLeaf for Param<D> {
    fn shape(&self) -> Vec<usize> {
        self.0.dims().to_vec()
    }

    fn flat(&self) -> Tensor<1> {
        self.0.clone().without_autodiff().flatten(0, D - 1)
    }

    fn set_flat(&mut self, flat: Tensor<1>) {
        let value = flat.reshape(self.0.dims());
        self.0 = if self.0.is_autodiff() { as_leaf(value.autodiff()) } else { value };
    }

    fn gradient(&self, gradients: &Gradients) -> Option<Tensor<1>> {
        self.0.grad(gradients).map(|gradient| gradient.flatten(0, D - 1))
    }
}

impl<const D: usize> TensorLeaf for Buffer<D> {
    fn shape(&self) -> Vec<usize> {
        self.val().dims().to_vec()
    }

    fn flat(&self) -> Tensor<1> {
        self.val().flatten(0, D - 1)
    }

    fn set_flat(&mut self, flat: Tensor<1>) {
        self.update(|old| flat.reshape(old.dims()));
    }

    fn gradient(&self, _: &Gradients) -> Option<Tensor<1>> {
        None
    }
}

fn as_leaf<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    if value.is_autodiff() { value.detach().require_grad() } else { value }
}
