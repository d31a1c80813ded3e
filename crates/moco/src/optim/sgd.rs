//! Stochastic gradient descent with torch's semantics.

use crate::nn::update::sgd_step;
use crate::nn::{Buffer, Module, TensorLeaf, Visitor, for_each_param};
use burn::tensor::Gradients;
use std::collections::BTreeMap;

/// SGD with momentum and coupled weight decay on every parameter.
///
/// `v <- mu v + (g + wd p)`, `p <- p - lr v`: the learning rate stays outside the buffer, so a
/// changing rate does not rescale past gradients. No dampening, no Nesterov.
#[derive(Debug)]
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    velocity: BTreeMap<String, Buffer<1>>,
}

impl Sgd {
    /// Zero buffers for every parameter of `student`, which makes the first step plain descent.
    pub fn new(momentum: f64, weight_decay: f64, student: &mut dyn Module) -> Self {
        let mut velocity = BTreeMap::new();
        for_each_param(student, |name, param| {
            velocity.insert(name.to_string(), Buffer::new(param.flat().zeros_like()));
        });
        Self { momentum, weight_decay, velocity }
    }

    /// Moves every parameter of `student` that a gradient reached.
    ///
    /// # Panics
    /// If `student` has a parameter that the one given to [`Sgd::new`] had not.
    pub fn step(&mut self, student: &mut dyn Module, gradients: &Gradients, lr: f64) {
        let rates = [lr, self.momentum, self.weight_decay];
        for_each_param(student, |name, param| {
            let Some(g) = param.gradient(gradients) else { return };
            let velocity = self.velocity.get_mut(name).expect("a parameter known at the start");
            let (p, v) = sgd_step(param.take_flat(), g, velocity.take_flat(), rates);
            param.set_flat(p);
            velocity.set_flat(v);
        });
    }
}

impl Module for Sgd {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (name, velocity) in &mut self.velocity {
            visitor.child(name, velocity);
        }
    }
}
