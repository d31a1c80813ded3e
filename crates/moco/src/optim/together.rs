//! A step of many parameters at once, for engines that update so.

use super::lars::Lars;
use super::{NamedGradients, Optimizer, clipped};
use crate::config::RuleConfig;
use crate::nn::{Module, TensorLeaf, for_each_param};
use crate::ops::update::{self, AdamWConfig, Moving, Rule};
use std::collections::BTreeMap;

impl Optimizer {
    /// Whether the engine of the parameters' device moves them together. Without momentum torch keeps no
    /// velocity, so that such a rule moves them one by one.
    pub(super) fn moves_together(&self) -> bool {
        let momentum = match self.rule {
            RuleConfig::Sgd { momentum } | RuleConfig::Nesterov { momentum } => momentum,
            _ => 1.0,
        };
        let first = self.state.values().next();
        momentum > 0.0 && first.is_some_and(|state| update::at_once(&state.first.val().device()))
    }

    /// As [`Optimizer::step`], with those of one rate and decay in one call.
    pub(super) fn step_together(
        &mut self,
        student: &mut dyn Module,
        mut gradients: NamedGradients,
        weight_decay: f64,
        rate: impl Fn(&str) -> Option<f64>,
    ) {
        let mut groups: Vec<(Rule, Vec<String>, Vec<Moving>)> = Vec::new();
        for_each_param(student, |name, param| {
            let Some(gradient) = gradients.take(name) else { return };
            let Some(lr) = rate(name) else { return };
            let g = match self.clip {
                Some(longest) => clipped(gradient, longest),
                None => gradient,
            };
            let rule = self.rule_for(lr, self.decays(name, param).then_some(weight_decay));
            let state = self.state.get_mut(name).expect("a parameter known at the start");
            state.steps += 1;
            let second = state.second.as_mut().map(TensorLeaf::take_flat);
            let (p, first) = (param.take_flat(), state.first.take_flat());
            let moving = Moving { p, g, first, second, steps: state.steps };
            let at = groups.iter().position(|(known, ..)| *known == rule).unwrap_or_else(|| {
                groups.push((rule, Vec::new(), Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(name.to_owned());
            groups[at].2.push(moving);
        });
        let mut moved: BTreeMap<String, Moving> = BTreeMap::new();
        for (rule, names, parameters) in groups {
            moved.extend(names.into_iter().zip(update::step_all(parameters, rule)));
        }
        for_each_param(student, |name, param| {
            let Some(Moving { p, first, second, .. }) = moved.remove(name) else { return };
            let state = self.state.get_mut(name).expect("a parameter known at the start");
            param.set_flat(p);
            state.first.set_flat(first);
            if let (Some(buffer), Some(second)) = (&mut state.second, second) {
                buffer.set_flat(second);
            }
        });
    }

    /// The rule with its numbers for one parameter; without a weight decay, not even of 0, it is not
    /// adapted either.
    fn rule_for(&self, lr: f64, decay: Option<f64>) -> Rule {
        let weight_decay = decay.unwrap_or(0.0);
        match &self.rule {
            RuleConfig::Sgd { momentum } => {
                Rule::Sgd { rates: [lr, *momentum, weight_decay], nesterov: false }
            }
            RuleConfig::Nesterov { momentum } => {
                Rule::Sgd { rates: [lr, *momentum, weight_decay], nesterov: true }
            }
            RuleConfig::Lars { momentum, trust, flavor } => {
                let lars = Lars { momentum: *momentum, trust: *trust, flavor: *flavor };
                Rule::Lars(lars.config(lr, decay))
            }
            RuleConfig::Adam { beta1, beta2, epsilon }
            | RuleConfig::AdamW { beta1, beta2, epsilon } => {
                let (beta1, beta2, eps) = (*beta1, *beta2, *epsilon);
                let decoupled = matches!(self.rule, RuleConfig::AdamW { .. });
                let config = AdamWConfig { lr, beta1, beta2, eps, weight_decay };
                Rule::Adam { config, decoupled }
            }
        }
    }
}
