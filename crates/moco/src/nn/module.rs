//! Named state: how a network's tensors are walked, copied, counted and saved.
//!
//! A [`Module`] is anything that owns parameters, buffers or counters, and can walk them by name.
//! Names are torchvision's (`layer1.0.conv1.weight`), so checkpoints interchange. This walk
//! is used instead of Burn's `Module` derive because four things matter here that it does not
//! give: pairing by name rather than by per-process id, parameters told apart from buffers (the
//! moving average covers parameters only), clones that do not share BatchNorm statistics, and a
//! walk that a `dyn Method` can offer.

use burn::tensor::{Gradients, Tensor};
use moco_peers::Peers;
use std::collections::BTreeMap;

/// A part that owns named state.
pub trait Module {
    /// Shows every leaf to the visitor, each under its name, always in the same order.
    fn visit(&mut self, visitor: &mut Visitor<'_>);
}

/// Implements [`Module`] for a struct by visiting the listed fields under their own names.
#[macro_export]
macro_rules! module {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::nn::Module for $type {
            fn visit(&mut self, visitor: &mut $crate::nn::Visitor<'_>) {
                $(visitor.child(stringify!($field), &mut self.$field);)*
            }
        }
    };
}

/// One piece of state as a walk shows it.
pub enum Leaf<'a> {
    /// Trained by the optimiser and followed by the moving average.
    Param(&'a mut dyn TensorLeaf),
    /// Carried along and saved, but neither trained nor averaged.
    Buffer(&'a mut dyn TensorLeaf),
    /// A number that must survive a resume.
    Counter(&'a mut u64),
}

/// A tensor of any rank behind one interface; values travel flat.
pub trait TensorLeaf {
    /// Sizes of the dimensions.
    fn shape(&self) -> Vec<usize>;
    /// The values, flat, outside any autodiff graph.
    fn flat(&self) -> Tensor<1>;
    /// Moves the values out, as [`TensorLeaf::flat`], so that the caller can work in place on the
    /// only handle. The leaf must be given values by [`TensorLeaf::set_flat`] before its next use.
    fn take_flat(&mut self) -> Tensor<1>;
    /// Replaces the values; `flat` must have as many elements as [`TensorLeaf::shape`] says.
    fn set_flat(&mut self, flat: Tensor<1>);
    /// Whether kernels may keep what they prepare of the values, until these are set or moved out.
    fn keep_prepared(&mut self, _: bool) {}
    /// The gradient of a backward pass, flat; `None` if it did not reach this tensor.
    fn gradient(&self, gradients: &Gradients) -> Option<Tensor<1>>;
}

/// Carries the current name down a module tree.
pub struct Visitor<'a> {
    name: String,
    see: &'a mut dyn FnMut(&str, Leaf<'_>),
    /// Given to every handle to the other ranks on the way.
    peers: Option<Peers>,
}

impl Visitor<'_> {
    /// Walks `module` under `name`.
    pub fn child(&mut self, name: &str, module: &mut dyn Module) {
        let parent = self.name.len();
        if parent > 0 {
            self.name.push('.');
        }
        self.name.push_str(name);
        module.visit(self);
        self.name.truncate(parent);
    }

    /// Walks `module` under `name` with its parameters shown as buffers: saved and copied, but
    /// neither trained nor averaged. Draw such a module on the plain device, where it costs no
    /// gradient.
    pub fn frozen_child(&mut self, name: &str, module: &mut dyn Module) {
        let see = &mut *self.see;
        let mut as_buffer = |name: &str, leaf: Leaf<'_>| match leaf {
            Leaf::Param(tensor) => see(name, Leaf::Buffer(tensor)),
            leaf => see(name, leaf),
        };
        let held = std::mem::take(&mut self.name);
        let mut inner = Visitor { name: held, see: &mut as_buffer, peers: self.peers };
        inner.child(name, module);
        self.name = inner.name;
    }

    /// Shows a leaf that carries the current name.
    pub fn leaf(&mut self, leaf: Leaf<'_>) {
        (self.see)(&self.name, leaf);
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (i, module) in self.iter_mut().enumerate() {
            visitor.child(&i.to_string(), module);
        }
    }
}

impl<M: Module> Module for Option<M> {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        if let Some(module) = self {
            module.visit(visitor);
        }
    }
}

/// What needs the other ranks holds a handle to them, which is no state and has no name.
impl Module for Peers {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        if let Some(peers) = visitor.peers {
            *self = peers;
        }
    }
}

/// Tells all of `module` who the other ranks of its run are; a new module is alone. From then on a
/// forward pass in training is a collective call: each rank has a share of one global batch.
pub fn share(module: &mut dyn Module, peers: Peers) {
    let see = &mut |_: &str, _: Leaf<'_>| {};
    module.visit(&mut Visitor { name: String::new(), see, peers: Some(peers) });
}

impl Module for u64 {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Counter(self));
    }
}

/// Shows every leaf of `module` to `see`, in order.
pub fn for_each_leaf(module: &mut dyn Module, mut see: impl FnMut(&str, Leaf<'_>)) {
    module.visit(&mut Visitor { name: String::new(), see: &mut see, peers: None });
}

/// Shows every parameter of `module` to `see`, in order.
pub fn for_each_param(module: &mut dyn Module, mut see: impl FnMut(&str, &mut dyn TensorLeaf)) {
    for_each_leaf(module, |name, leaf| {
        if let Leaf::Param(param) = leaf {
            see(name, param);
        }
    });
}

/// Trained numbers in `module`.
pub fn count_params(module: &mut dyn Module) -> usize {
    let mut count = 0;
    for_each_param(module, |_, param| count += param.shape().iter().product::<usize>());
    count
}

/// Every tensor of `module` by name, flat and outside autodiff. Cheap: handles, not copies.
pub fn tensors(module: &mut dyn Module) -> BTreeMap<String, Tensor<1>> {
    let mut all = BTreeMap::new();
    for_each_leaf(module, |name, leaf| {
        if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf {
            all.insert(name.to_string(), tensor.flat());
        }
    });
    all
}

/// Makes `target` equal to `source`: parameters and buffers, paired by name.
///
/// # Panics
/// If `target` has a tensor that `source` lacks.
pub fn copy_tensors(source: &mut dyn Module, target: &mut dyn Module) {
    let values = tensors(source);
    for_each_leaf(target, |name, leaf| {
        if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf {
            tensor.set_flat(values[name].clone());
        }
    });
}
