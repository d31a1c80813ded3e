//! Optimisers.
//!
//! [`Optimizer`] walks the parameters and decides what applies to each: its rate, the scope of
//! weight decay, clipping. The rules themselves, one file each, see flat tensors.

mod adam;
mod gradients;
mod lars;
mod sgd;
#[cfg(feature = "libtorch")]
mod together;

pub use gradients::NamedGradients;

use crate::config::{DecayScope, OptimConfig, RuleConfig};
use crate::nn::{Buffer, Module, TensorLeaf, Visitor, for_each_param};
use burn::tensor::Tensor;
use std::collections::BTreeMap;

/// An optimiser with its state for every parameter.
#[derive(Debug)]
pub struct Optimizer {
    rule: RuleConfig,
    decay: DecayScope,
    clip: Option<f64>,
    /// Beginnings of the names that weight decay and adaptation leave out.
    left_out: Vec<String>,
    state: BTreeMap<String, State>,
}

/// What an optimiser remembers of a parameter.
#[derive(Debug)]
struct State {
    /// Velocity, or the running mean of gradients.
    first: Buffer<1>,
    /// The running mean of squares.
    second: Option<Buffer<1>>,
    /// Updates so far.
    steps: u64,
}

crate::module!(State { first, second, steps });

impl Optimizer {
    /// The configured optimiser, with zero state for every parameter of `student`.
    pub fn new(config: &OptimConfig, student: &mut dyn Module) -> Self {
        Self::of_rule(config.rule.clone(), config.decay, config.clip, student)
    }

    /// As [`Optimizer::new`], from the parts of a configuration that matter.
    pub fn of_rule(
        rule: RuleConfig,
        decay: DecayScope,
        clip: Option<f64>,
        student: &mut dyn Module,
    ) -> Self {
        let squares = matches!(rule, RuleConfig::Adam { .. } | RuleConfig::AdamW { .. });
        let mut state = BTreeMap::new();
        for_each_param(student, |name, param| {
            let zeros = || Buffer::new(param.flat().zeros_like());
            let second = squares.then(zeros);
            state.insert(name.to_owned(), State { first: zeros(), second, steps: 0 });
        });
        Self { rule, decay, clip, left_out: Vec::new(), state }
    }

    /// Has weight decay, and LARS's adaptation, leave out parameters whose names begin so.
    pub fn leave_out(&mut self, beginning: &str) {
        self.left_out.push(beginning.to_owned());
    }

    /// Whether weight decay, and LARS's adaptation, apply to a parameter.
    fn decays(&self, name: &str, param: &dyn TensorLeaf) -> bool {
        (self.decay == DecayScope::All || param.shape().len() > 1)
            && !self.left_out.iter().any(|start| name.starts_with(start))
    }

    /// Moves every parameter of `student` that a gradient reached, at the learning rate that
    /// `rate` gives for its name; none leaves the parameter and its state as they are.
    ///
    /// # Panics
    /// If `student` has a parameter that the one given to [`Optimizer::new`] had not.
    pub fn step(
        &mut self,
        student: &mut dyn Module,
        mut gradients: NamedGradients,
        weight_decay: f64,
        rate: impl Fn(&str) -> Option<f64>,
    ) {
        #[cfg(feature = "libtorch")]
        if self.moves_together() {
            return self.step_together(student, gradients, weight_decay, rate);
        }
        for_each_param(student, |name, param| {
            let Some(gradient) = gradients.take(name) else { return };
            let Some(lr) = rate(name) else { return };
            let gradient = match self.clip {
                Some(longest) => clipped(gradient, longest),
                None => gradient,
            };
            let decay = self.decays(name, param).then_some(weight_decay);
            let state = self.state.get_mut(name).expect("a parameter known at the start");
            update(&self.rule, param, gradient, state, lr, decay);
        });
    }
}

/// One parameter's update; without a weight decay, not even of 0, it is not adapted either.
fn update(
    rule: &RuleConfig,
    param: &mut dyn TensorLeaf,
    g: Tensor<1>,
    state: &mut State,
    lr: f64,
    decay: Option<f64>,
) {
    let weight_decay = decay.unwrap_or(0.0);
    let p = param.take_flat();
    state.steps += 1;
    let p = match rule {
        RuleConfig::Sgd { momentum } => {
            sgd::step(p, g, &mut state.first, [lr, *momentum, weight_decay])
        }
        RuleConfig::Nesterov { momentum } => {
            sgd::nesterov(p, g, &mut state.first, [lr, *momentum, weight_decay])
        }
        RuleConfig::Lars { momentum, trust, flavor } => {
            let lars = lars::Lars { momentum: *momentum, trust: *trust, flavor: *flavor };
            lars.step(p, g, &mut state.first, lr, decay)
        }
        RuleConfig::Adam { beta1, beta2, epsilon }
        | RuleConfig::AdamW { beta1, beta2, epsilon } => {
            let decoupled = matches!(rule, RuleConfig::AdamW { .. });
            let (betas, steps) = ([*beta1, *beta2], state.steps);
            let adam = adam::Adam { betas, epsilon: *epsilon, decoupled, steps };
            let second = state.second.as_mut().expect("Adam has a second moment");
            adam.step(p, g, &mut state.first, second, lr, weight_decay)
        }
    };
    param.set_flat(p);
}

/// `g` scaled down to the length `longest` if it is longer: DINO's clipping, per parameter.
fn clipped(g: Tensor<1>, longest: f64) -> Tensor<1> {
    let length = g.clone().square().sum().sqrt();
    let factor = (length + 1e-6).recip() * longest;
    g * factor.clamp_max(1.0)
}

impl Module for Optimizer {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (name, state) in &mut self.state {
            visitor.child(name, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::config::LarsFlavor;
    use crate::nn::Linear;
    use crate::rng::{Purpose, stream};
    use burn::tensor::Device;

    struct Two {
        body: Linear,
        head: Linear,
    }

    crate::module!(Two { body, head });

    /// What is left out moves by the rate times its gradient, neither decayed nor adapted; the other by
    /// the trust of 0.001 times its length over the gradient's.
    #[test]
    fn layers_can_be_left_out_of_adaptation() {
        let (rng, device) = (&mut stream(0, Purpose::Weights, 0), Device::flex().autodiff());
        let mut layer = || Linear::without_bias(3, 2, rng, &device);
        let mut net = Two { body: layer(), head: layer() };
        let before = [&net.body, &net.head].map(|layer| to_host(layer.weight.val()));
        let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Inside };
        let mut lars = Optimizer::of_rule(rule, DecayScope::Matrices, None, &mut net);
        lars.leave_out("head.");
        let loss = (net.body.weight.val() + net.head.weight.val()).sum(); // gradients of 1
        let gradients = NamedGradients::of(&mut net, &loss.backward());
        lars.step(&mut net, gradients, 0.0, |_| Some(0.5));
        let length = before[0].iter().map(|w| f64::from(w * w)).sum::<f64>().sqrt();
        let steps = [0.5 * 0.001 * length / 6f64.sqrt(), 0.5];
        let after = [&net.body, &net.head].map(|layer| to_host(layer.weight.val()));
        for ((before, after), step) in before.iter().zip(&after).zip(steps) {
            for (before, after) in before.iter().zip(after) {
                let moved = f64::from(before - after);
                assert!((moved - step).abs() < 1e-7, "{moved} is not {step}");
            }
        }
    }
}
