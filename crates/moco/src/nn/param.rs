//! The two kinds of tensor that a module owns.

use super::module::{Leaf, Module, TensorLeaf, Visitor};
use crate::ops::Frozen;
use burn::tensor::{Gradients, Tensor};

/// A tensor that the optimiser trains and the moving average follows.
///
/// On an autodiff device it is a leaf of the graph; on a plain device it is a constant, which is
/// how key encoders and frozen copies are held.
#[derive(Clone, Debug)]
pub struct Param<const D: usize> {
    value: Option<Tensor<D>>,
    shape: [usize; D],
    on_graph: bool,
    /// Where kernels keep what they prepare of the values, while these stay as they are.
    frozen: Option<Frozen>,
}

/// A tensor that is saved with the module but neither trained nor averaged.
#[derive(Clone, Debug)]
pub struct Buffer<const D: usize> {
    value: Option<Tensor<D>>,
    shape: [usize; D],
}

/// What an empty leaf would mean.
const FILLED: &str = "values that were taken out are set before the next use";

impl<const D: usize> Param<D> {
    /// Takes `value` as a graph leaf if it lives on an autodiff device.
    pub fn new(value: Tensor<D>) -> Self {
        let (shape, on_graph) = (value.dims(), value.is_autodiff());
        Self { value: Some(as_leaf(value)), shape, on_graph, frozen: None }
    }

    /// The tensor, ready to compute with.
    pub fn val(&self) -> Tensor<D> {
        self.value.clone().expect(FILLED)
    }

    /// Where kernels may keep what they prepare of the values.
    pub(super) fn frozen(&self) -> Option<Frozen> {
        self.frozen.clone()
    }
}

impl<const D: usize> Buffer<D> {
    /// Takes `value`, without any autodiff association.
    pub fn new(value: Tensor<D>) -> Self {
        Self { shape: value.dims(), value: Some(value.without_autodiff()) }
    }

    /// The tensor.
    pub fn val(&self) -> Tensor<D> {
        self.value.clone().expect(FILLED)
    }

    /// Replaces the tensor by `f` of it. `f` holds the only handle, so it can work in place.
    pub fn update(&mut self, f: impl FnOnce(Tensor<D>) -> Tensor<D>) {
        self.value = self.value.take().map(|value| f(value).without_autodiff());
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
        self.shape.to_vec()
    }

    fn flat(&self) -> Tensor<1> {
        self.val().without_autodiff().flatten(0, D - 1)
    }

    fn take_flat(&mut self) -> Tensor<1> {
        self.frozen = None;
        self.value.take().expect(FILLED).without_autodiff().flatten(0, D - 1)
    }

    fn set_flat(&mut self, flat: Tensor<1>) {
        self.frozen = None;
        let value = flat.reshape(self.shape);
        self.value = Some(if self.on_graph { as_leaf(value.autodiff()) } else { value });
    }

    fn keep_prepared(&mut self, keep: bool) {
        self.frozen = keep.then(|| self.frozen.take().unwrap_or_default());
    }

    fn gradient(&self, gradients: &Gradients) -> Option<Tensor<1>> {
        self.val().grad(gradients).map(|gradient| gradient.flatten(0, D - 1))
    }
}

impl<const D: usize> TensorLeaf for Buffer<D> {
    fn shape(&self) -> Vec<usize> {
        self.shape.to_vec()
    }

    fn flat(&self) -> Tensor<1> {
        self.val().flatten(0, D - 1)
    }

    fn take_flat(&mut self) -> Tensor<1> {
        self.value.take().expect(FILLED).flatten(0, D - 1)
    }

    fn set_flat(&mut self, flat: Tensor<1>) {
        self.value = Some(flat.reshape(self.shape));
    }

    fn gradient(&self, _: &Gradients) -> Option<Tensor<1>> {
        None
    }
}

fn as_leaf<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    if value.is_autodiff() { value.detach().require_grad() } else { value }
}
