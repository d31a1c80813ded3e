//! Gradients by parameter name.

use crate::nn::{Module, average, for_each_param};
use crate::ops::update;
use burn::tensor::{Gradients, Tensor};
use moco_peers::Peers;
use std::collections::BTreeMap;

/// The gradients of a network, flat, by parameter name. Parameters that no gradient reached are
/// not among them.
#[derive(Default)]
pub struct NamedGradients(BTreeMap<String, Tensor<1>>);

impl NamedGradients {
    /// Takes the gradients of `student` out of a backward pass.
    pub fn of(student: &mut dyn Module, gradients: &Gradients) -> Self {
        let mut named = Self::default();
        named.add(student, gradients, 1.0);
        named
    }

    /// Adds `weight` times the gradients of a further backward pass.
    pub fn add(&mut self, student: &mut dyn Module, gradients: &Gradients, weight: f64) {
        for_each_param(student, |name, param| {
            let Some(gradient) = param.gradient(gradients) else { return };
            let gradient = if weight == 1.0 { gradient } else { gradient * weight };
            let sum = match self.0.remove(name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.0.insert(name.to_owned(), sum);
        });
    }

    /// Takes the mean over the ranks of a run, all of them in one exchange.
    pub fn average(&mut self, peers: Peers) {
        average(self.0.values_mut(), peers, "gradients");
    }

    /// Divides all by `factor`; whether they are finite then.
    pub fn divide(&mut self, factor: f64) -> bool {
        update::divide(self.0.values_mut(), factor)
    }

    /// Moves one gradient out.
    pub(super) fn take(&mut self, name: &str) -> Option<Tensor<1>> {
        self.0.remove(name)
    }
}
